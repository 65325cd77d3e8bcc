//! Zero-copy message passing between processes on Linux.
