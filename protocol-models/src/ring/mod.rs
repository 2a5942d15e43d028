//! One small machine for every model of the ring: the shared words, the participants' steps, the
//! crash, and the properties. Each step does at most one access that another process can see.

pub(crate) mod adopt;
pub(crate) mod check;
pub(crate) mod consumer_many;
pub(crate) mod consumer_one;
pub(crate) mod frontier;
pub(crate) mod full;
pub(crate) mod join;
pub(crate) mod machine;
pub(crate) mod observer;
pub(crate) mod producer_many;
pub(crate) mod producer_one;
pub(crate) mod scenario;
pub(crate) mod words;
pub(crate) mod world;
