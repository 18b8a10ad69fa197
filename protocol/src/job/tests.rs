//! Both machines against each other, and each against a cheat.

mod cheats;
mod disorder;
mod ends;
mod happy;
mod pair;
