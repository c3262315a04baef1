//! What the engine does to itself before it runs the code of others: it walls itself in.
//!
//! The walls are a library only so that a test can stand inside them; the engine is the program.

pub mod walls;
