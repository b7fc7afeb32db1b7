//! End to end: the real clipctl, real registries, real images, real mounts.
//!
//! `scripts/test` builds the images, starts the registries and says where they are (`support.rs` lists the variables). One binary,
//! one module for each promise of the product.

mod support;
