//! The durable truth: a hash-chained log, its SQLite index, approvals and permits.
