use super::{DAY_US, age};
use domain::Moment;

#[test]
fn an_item_is_as_old_as_its_whole_days() {
    let at = Moment::from_micros(100 * DAY_US);
    for (back, days, bucket) in [
        (0, 0, "0-1 days"),
        (2 * DAY_US - 1, 1, "0-1 days"),
        (2 * DAY_US, 2, "2-7 days"),
        (8 * DAY_US - 1, 7, "2-7 days"),
        (8 * DAY_US, 8, "8-30 days"),
        (31 * DAY_US - 1, 30, "8-30 days"),
        (31 * DAY_US, 31, "over 30 days"),
        (-DAY_US, 0, "0-1 days"),
    ] {
        assert_eq!(age(Moment::from_micros(at.micros() - back), at), (days, bucket), "{back}");
    }
}
