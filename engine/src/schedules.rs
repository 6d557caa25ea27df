//! Schedules tried out: the code that threads share, run by a checker that decides who goes on at each step.
//!
//! `./test loom` tries all schedules of the small parts, with every value that an atomic may still show;
//! `./test shuttle` many random ones of the whole log. Neither is part of an ordinary build.

#[cfg(loom)]
mod every;
#[cfg(all(shuttle, not(loom)))]
mod random;
