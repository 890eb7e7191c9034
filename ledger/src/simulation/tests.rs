use super::*;

#[test]
fn one() {
    let of = |name: &str| std::env::var(name).ok().and_then(|it| it.parse().ok());
    let seed = of("SIM_SEED").unwrap_or(0);
    for seed in seed..seed + of("SIM_SEEDS").unwrap_or(1) {
        let begun = std::time::Instant::now();
        let outcome = run(seed, std::env::var("SIM_TRACE").is_ok());
        eprintln!(
            "{seed} {:?} {:?} {:x} {:?} {:?}",
            Plan::of(seed).kind,
            outcome.report,
            outcome.trace,
            outcome.wrong,
            begun.elapsed()
        );
    }
}
