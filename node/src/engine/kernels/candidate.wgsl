// What sampling keeps of a part of the vocabulary, and how two parts become one.

struct Candidate {
    // The best score, its sign bit flipped, and whose it is.
    score_low: u32,
    score_high: u32,
    token: u32,
    logit: i32,
    // The largest logit and the second, ties to the lowest token.
    first: u32,
    first_logit: i32,
    second: u32,
    second_logit: i32,
}

const NO_TOKEN: u32 = 0xffffffffu;
const NO_CANDIDATE = Candidate(0u, 0u, NO_TOKEN, -LIMIT, NO_TOKEN, -LIMIT, NO_TOKEN, -LIMIT);

fn better(a: Candidate, b: Candidate) -> Candidate {
    var result = a;
    let tied = a.score_high == b.score_high && a.score_low == b.score_low;
    let above = b.score_high > a.score_high || (b.score_high == a.score_high && b.score_low > a.score_low);
    if above || (tied && b.token < a.token) {
        result.score_low = b.score_low;
        result.score_high = b.score_high;
        result.token = b.token;
        result.logit = b.logit;
    }
    if is_before(b.first, b.first_logit, a.first, a.first_logit) {
        result.first = b.first;
        result.first_logit = b.first_logit;
        let keeps = is_before(a.first, a.first_logit, b.second, b.second_logit);
        result.second = select(b.second, a.first, keeps);
        result.second_logit = select(b.second_logit, a.first_logit, keeps);
    } else if is_before(b.first, b.first_logit, a.second, a.second_logit) {
        result.second = b.first;
        result.second_logit = b.first_logit;
    }
    return result;
}

fn is_before(token: u32, logit: i32, other: u32, other_logit: i32) -> bool {
    return logit > other_logit || (logit == other_logit && token < other);
}
