//! The one integration binary: libtorch links slowly.

mod suite {
    mod architecture;
    #[cfg(feature = "torch")]
    mod programs;
}
