//! The packs that are compiled into the Worker.

use shared::policy::{Pack, Prepared, Router, prepare};

pub(crate) const APP: &str = include_str!("../../../edge/packs/app.json");
pub(crate) const SUPABASE: &str = include_str!("../../../edge/packs/supabase.json");

#[test]
fn the_worker_routes_by_prepared_packs_as_by_the_packs_themselves() {
    for text in [APP, SUPABASE] {
        let pack = Pack::parse(text).expect("a pack");
        let prepared = Prepared::read(prepare(text).expect("a pack").leak()).expect("prepared");
        let (one, other) =
            (Router::of(vec![prepared]).expect("routable"), Router::compile(vec![pack]).expect("routable"));
        assert_eq!(one.plans().collect::<Vec<_>>(), other.plans().collect::<Vec<_>>());
        assert_eq!(one.headers().collect::<Vec<_>>(), other.headers().collect::<Vec<_>>());
        assert!(one.rules().eq(other.rules()));
    }
}
