//! The market: what is offered, what is wanted, and which offer meets an order.

pub mod advert;
pub mod batch;
pub mod book;
pub mod coordinate;
pub mod costs;
pub mod data_class;
pub mod estimate;
pub mod exploration;
pub mod fading;
pub mod geography;
pub mod history;
pub mod index;
pub mod mask;
pub mod matching;
pub mod order;
pub mod posting;
pub mod quote;
pub mod redundant;
pub mod reservation;
pub mod score;
pub mod shortlist;
pub mod standing;
pub mod tier;
