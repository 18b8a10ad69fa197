//! Tests of numerics v1 from outside: known answers, agreement with float mathematics, and the extremes at
//! which a wrong bound would overflow (overflow checks are on in every profile that runs tests).

mod bounds;
mod floats;
mod model;
mod sampling;
mod support;
mod vectors;
