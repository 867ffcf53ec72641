//! Elements picked and added by index.
