//! What users ask.

/// Questions, tasks and chatter of different kinds, lengths and languages.
pub(crate) const PROMPTS: [&str; 20] = [
    "What is the capital of France, and what is it known for?",
    "Explain to a ten-year-old why the sky is blue.",
    "Write a short poem about a lighthouse in winter.",
    "A train leaves at 9:40 and arrives at 13:05. How long is the journey? Show each step.",
    "Write a Python function that returns the n-th Fibonacci number, with a docstring.",
    "fn main() { let v = vec![1, 2, 3]; println!(\"{}\", v[3]); }\n\nWhy does this Rust program panic?",
    "Translate into French: \"The library closes at six, but you may return books at any time.\"",
    "¿Qué diferencia hay entre el clima y el tiempo?",
    "Nenne drei Gründe, warum Bäume in Städten wichtig sind.",
    "List five things to pack for a week in the mountains, as a numbered list.",
    "Give me a JSON object with the fields name, age and email for an invented person. JSON only.",
    "Summarise in one sentence: The committee met on Tuesday to discuss the bridge. Repairs will cost more \
     than planned, because the northern pillar stands on clay. Work starts in May and one lane stays open, \
     but heavy lorries must take the tunnel until October.",
    "Is the following review positive or negative, and why? \"The plot was thin, yet I could not \
     look away.\"",
    "Write a polite e-mail to my landlord about a dripping tap in the kitchen.",
    "hi",
    "Continue the story: The last customer had left, and Mira was about to lock the shop when she heard a \
     knock from inside the cellar.",
    "What is 17 * 23?",
    "Compare renting and buying a home in a table with two columns.",
    "Pretend that you are a pirate and tell me how to brew coffee. ☕🏴‍☠️",
    "Rewrite so that it sounds friendlier: SEND ME THE REPORT BY NOON OR I WILL ESCALATE THIS!!!",
];
