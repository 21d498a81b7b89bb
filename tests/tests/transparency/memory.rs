//! What a large answer to a slow client costs.
