//! The one integration binary: libtorch links slowly.

mod suite {
    mod architecture;
    #[cfg(feature = "torch")]
    mod golden;
    #[cfg(feature = "torch")]
    mod nni_sensitivity;
    mod nni_topology;
    #[cfg(feature = "torch")]
    mod programs;
    #[cfg(feature = "torch")]
    mod sensitivity;
}
