//! The one integration binary: libtorch links slowly.

mod suite {
    mod architecture;
    #[cfg(feature = "torch")]
    mod auto;
    mod bench;
    #[cfg(feature = "torch")]
    mod branches;
    mod broken_archives;
    #[cfg(feature = "torch")]
    mod cells;
    #[cfg(feature = "torch")]
    mod check;
    mod compose;
    #[cfg(feature = "torch")]
    mod concurrency;
    #[cfg(feature = "torch")]
    mod detector;
    #[cfg(feature = "torch")]
    mod docs;
    #[cfg(feature = "torch")]
    mod estimate;
    #[cfg(feature = "torch")]
    mod explain;
    #[cfg(feature = "torch")]
    mod family;
    #[cfg(feature = "torch")]
    mod faults;
    #[cfg(feature = "torch")]
    mod golden;
    #[cfg(feature = "torch")]
    mod heads;
    #[cfg(feature = "torch")]
    mod history;
    #[cfg(feature = "torch")]
    mod housekeeping;
    #[cfg(feature = "torch")]
    mod mask_fix;
    #[cfg(feature = "torch")]
    mod measure;
    #[cfg(feature = "torch")]
    mod memory;
    #[cfg(feature = "torch")]
    mod metrics;
    #[cfg(feature = "torch")]
    mod nni_topology;
    mod operators;
    #[cfg(feature = "torch")]
    mod plan;
    #[cfg(feature = "torch")]
    mod plugin;
    #[cfg(feature = "torch")]
    mod plugin_data;
    #[cfg(feature = "torch")]
    mod programs;
    #[cfg(feature = "torch")]
    mod random_networks;
    #[cfg(feature = "torch")]
    mod removal;
    #[cfg(feature = "torch")]
    mod results;
    #[cfg(feature = "torch")]
    mod run;
    #[cfg(feature = "torch")]
    mod schedule;
    #[cfg(feature = "torch")]
    mod sensitivity;
    #[cfg(feature = "torch")]
    mod shards;
    mod soundness;
    #[cfg(feature = "torch")]
    mod sources;
    #[cfg(feature = "torch")]
    mod spellings;
    #[cfg(feature = "torch")]
    mod text;
    #[cfg(feature = "torch")]
    mod topology;
    #[cfg(feature = "torch")]
    mod torture;
    #[cfg(feature = "torch")]
    mod weights;
    #[cfg(feature = "torch")]
    mod zoo;
}
