//! Payments of the past, kept to be looked at.

use super::*;

impl Planner<'_> {
    pub(super) fn top_ups(&mut self, per_dollar: QuotaPerCredit) {
        let mut numbers = HashSet::new();
        for row in &self.data.top_ups {
            self.report().count("top-ups").source += 1;
            if let Err(fault) = self.top_up(row, per_dollar, &mut numbers) {
                self.report().tell(note::UNREADABLE, format!("top-up {}: {fault}", row.text("id")));
            }
        }
    }

    fn top_up(
        &mut self,
        row: &Record,
        per_dollar: QuotaPerCredit,
        numbers: &mut HashSet<String>,
    ) -> Result<(), String> {
        let (id, payer, amount) = (row.int("id")?, row.int("user_id")?, row.int("amount")?);
        let (created, completed) = (row.int("create_time")?, row.int("complete_time")?);
        let (status, trade_no) = (row.text("status"), row.text("trade_no"));
        let which = format!("top-up {id} ({}) of user {payer}", shown(trade_no));
        if !trade_no.is_empty() && !numbers.insert(trade_no.to_owned()) {
            self.report().tell(note::TOP_UP_TWICE, which.clone());
        }
        if status == "pending" {
            self.report().tell(note::TOP_UP_PENDING, which.clone());
        }
        if status == "success" && (completed == 0 || completed < created) {
            self.report().tell(note::TOP_UP_TIME, which.clone());
        }
        let Some(Person::Here { id: user, .. }) = self.people.get(&payer).cloned() else {
            self.report().tell(note::TOP_UP_ORPHAN, which);
            return Ok(());
        };
        if self.mapped("top_up", row.text("id")).is_some() {
            self.report().count("top-ups").already += 1;
            return Ok(());
        }
        let money = decimal(row.text("money")).ok_or("money is no number")?;
        let money = money.round_dp_with_strategy(6, RoundingStrategy::MidpointNearestEven).normalize();
        let channel = provider_of(row);
        // What was credited: dollars of the site, or quota.
        let dollars = |dollars: Decimal| {
            let quota = dollars.checked_mul(per_dollar.get().into())?;
            let per_credit = Decimal::from(self.per_credit.get());
            let nano = quota.checked_mul(Decimal::from(Credits::NANO_PER_CREDIT))?.checked_div(per_credit)?;
            i64::try_from(nano.round_dp_with_strategy(0, RoundingStrategy::MidpointNearestEven))
                .ok()
                .map(Credits::from_nano)
        };
        let credits = match channel.as_str() {
            _ if amount == 0 => None,
            "creem" => self.per_credit.credits(amount).map(|(credits, _)| credits),
            "stripe" => dollars(money),
            "epay" | "waffo" | "waffo_pancake" | "balance" => dollars(amount.into()),
            _ => None,
        };
        self.report().count("top-ups").imported += 1;
        self.plan.top_ups.push(ImportedTopUp {
            source_id: row.text("id").to_owned(),
            user,
            trade_no: trade_no.chars().filter(|c| !c.is_control()).take(255).collect(),
            channel,
            paid: money.to_string(),
            credits,
            status: name_of(status, 32).unwrap_or_else(|| "unknown".to_owned()),
            created_at: moment(created).unwrap_or(Moment::from_micros(0)),
            completed_at: moment(completed),
        });
        Ok(())
    }
}

/// Which payment gateway an order went to: old rows tell it by the form of their number.
fn provider_of(row: &Record) -> String {
    let (stated, method, number) =
        (row.text("payment_provider"), row.text("payment_method"), row.text("trade_no"));
    if let Some(stated) = name_of(stated, 64) {
        return stated;
    }
    let found = match number {
        _ if number.starts_with("SUBBALUSR") || number.starts_with("SUBUSR") => "subscription",
        _ if number.starts_with("WAFFO-") => "waffo",
        _ if number.starts_with("USR") => "epay",
        _ if number.starts_with("ref_") && method.eq_ignore_ascii_case("creem") => "creem",
        _ if number.starts_with("ref_") && method.eq_ignore_ascii_case("stripe") => "stripe",
        _ => "",
    };
    found.to_owned()
}
