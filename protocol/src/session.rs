//! A session: the terms that both sides signed, and the vouchers that pay under them.

pub mod book;
pub mod lane;
pub mod terms;
pub mod voucher;
pub mod warm;
