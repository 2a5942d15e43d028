//! Lock-free shared-memory queues and routing between processes.
