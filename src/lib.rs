//! secateur tells which parts of a neural network can be cut, and cuts them.
//!
//! A YAML file names a model, a dataset, a metric and a list of steps; `secateur run` resolves it into stages with cached
//! results. Two towers stand beside each other and know nothing of one another:
//!
//! - the **run tower** ([`spec`], [`store`], [`pipeline`], [`history`], [`schedule`]) reads pipeline files, orders
//!   stages, keeps what they leave under the hash of what they read, and remembers runs; it knows nothing of tensors;
//! - the **model tower** ([`formats`] … `sensitivity`) reads model files into one [`graph`] and analyses it; it knows
//!   nothing of YAML, stages or caches.
//!
//! They meet in `stages`, one file a step kind, which `cli` drives. Dependencies go down only, and a test reads the `use`
//! lines and holds it:
//!
//! ```text
//! cli → report → stages → history → pipeline → {store, spec}    cli → schedule → spec
//! stages → sensitivity → prune → mask → topology → ops → labels → graph → tensor
//! readers → {formats, graph}    {runtime, lower} → graph    dataset → formats    metric → {dataset, graph}
//! plugin → {metric, formats}    sensitivity → confidence    {metric, history} → outcomes
//! ```
//!
//! Five ideas carry it.
//!
//! 1. **One graph, read from the file.** [`readers`] parse a TorchScript archive themselves: its pickle, its code, its
//!    tensors. Submodules are inlined, constants folded, writes in place made functional. What is left is a straight list
//!    of ATen operators ([`graph::Graph`]) that knows the module of each node and the state-dict name of each parameter.
//!    Nothing in a file is executed; operators outside an allow-list of pure functions are refused by name.
//! 2. **Programs.** `runtime` hands parts of the graph back to libtorch as TorchScript text. Weights are arguments, so a
//!    masked or pruned variant is the same program with other tensors. It is the only user of libtorch.
//! 3. **Labels.** [`labels`] gives each position of each parameter axis a label, and [`ops`] says how labels pass through
//!    each operator; [`topology`] walks the graph once and reads the exact coupling of every channel off the result, with
//!    the operators that caused it. [`prune`] removes units and proves that the smaller network computes what the whole
//!    one computes with the same units zeroed.
//! 4. **Replay.** `sensitivity` runs, for each masked layer, only what depends on it, from values that one baseline
//!    forward kept; what runs is the graph made fast by [`lower`].
//! 5. **Cells.** Each (layer, sparsity) is one small result under its own key, so that one more sparsity computes one
//!    more column.
//!
//! Everything that needs libtorch lies behind the feature `torch` (default); all else is tested without it in seconds:
//! `cargo test --no-default-features --lib`.

#[cfg(feature = "torch")]
pub mod cli;
pub mod confidence;
pub mod dataset;
pub mod formats;
pub mod graph;
pub mod history;
pub mod labels;
pub mod lower;
pub mod mask;
pub mod metric;
pub mod ops;
pub mod outcomes;
pub mod pipeline;
pub mod plugin;
pub mod prune;
pub mod readers;
pub mod report;
#[cfg(feature = "torch")]
pub mod runtime;
pub mod schedule;
#[cfg(feature = "torch")]
pub mod sensitivity;
pub mod spec;
#[cfg(feature = "torch")]
pub mod stages;
pub mod store;
pub mod tensor;
pub mod topology;
