//! The fault campaign, short: one round, in which everything goes wrong once.

use tests::chaos::{Length, run};

const SEED: u64 = 1;

#[tokio::test]
async fn whatever_fails_nothing_is_lost_untold_nothing_is_there_twice_and_every_proof_holds() {
    let ledger = run(SEED, Length::Rounds(1), |line| println!("{line}")).await.expect("it comes to its end");
    println!("{ledger}");
    assert_eq!(ledger.wrong(), Vec::<String>::new());
    let total = ledger.total();
    assert!(total.stored > 300 && total.answered > 300, "the load was real: {total:?}");
    assert!(ledger.batches.repeated > 0, "so were the faults: {:?}", ledger.batches);
}
