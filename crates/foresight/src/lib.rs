//! What a program that starts will read next, known before it asks.
//!
//! A program starts in steps that each wait for the one before: the kernel reads its first page and finds the interpreter, the interpreter finds the
//! libraries that it needs, each of those needs others. Over a network every step is a round trip. But the steps can be foretold: a script names its
//! interpreter (`script`, `command`), an ELF file its interpreter and libraries (`binary`), and the archive knows where they are (`library`).
//! [`Foresight`] hears that the beginning of a program was read, walks ahead of it and asks for what it will need.
//!
//! Nothing is asked for before a program starts: a mount that nobody reads fetches nothing. These are guesses: what is wrong about them costs bytes, never an error, and everything has a bound, as the files may be anybody's.

mod binary;
mod command;
mod foresight;
mod library;
mod script;

pub use foresight::Foresight;
