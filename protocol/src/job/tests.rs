//! Both machines against each other, and each against a cheat.

mod cheats;
mod continued;
mod disorder;
mod ends;
mod happy;
mod pair;
mod reclaimed;
