//! Referrals: who brought whom, and whether anything is given for it.
//!
//! For: the codes that users pass on, the note that a new user came by one, and what became of that.
//! May not touch: credits; the ledger grants them ([`crate::referral`]).
//! Claims: somebody is brought once, and never by themselves under another form of their address; what is given is decided once,
//! in the transaction that also counts it against the referrer's month; the grants' ids are made of the two people, so granting
//! again is the same grant.

use super::{Directory, DirectoryError, Status, now, taken, user::alias, words};
use domain::{AccountId, Credits, GrantId, Moment, OrderId};
use projections::{Row, Tx, Value};
use sha2::{Digest, Sha256};

words! {
    /// What became of a referral.
    ReferralState {
        /// Whoever was brought has made no sufficient top-up yet.
        Waiting = "waiting",
        /// They have: something is given.
        Earned = "earned",
        /// They have, but the referrer had all that a month allows: only the new user is given something.
        Capped = "capped",
        /// They have, but one of the two is switched off, or both are one person.
        Refused = "refused",
        /// They have, while nothing was given for bringing somebody.
        Missed = "missed",
        /// They have not, in time.
        Lapsed = "lapsed",
    }
}

/// A referral.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Referral {
    /// Who was brought.
    pub referred: AccountId,
    /// By whom.
    pub referrer: AccountId,
    /// What became of it.
    pub state: ReferralState,
    /// When they registered.
    pub created_at: Moment,
    /// When it was decided.
    pub decided_at: Option<Moment>,
    /// What the referrer gets.
    pub reward: Credits,
    /// What the new user gets.
    pub welcome: Credits,
    /// Where the referrer's grant stands on the log.
    pub reward_seq: Option<i64>,
    /// Where the new user's grant stands on the log.
    pub welcome_seq: Option<i64>,
}

/// Whose share of a referral.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// The referrer's.
    Reward,
    /// The new user's.
    Welcome,
}

impl Referral {
    /// Who gets a share, and how much.
    pub fn share(&self, share: Share) -> (AccountId, Credits) {
        match share {
            Share::Reward => (self.referrer, self.reward),
            Share::Welcome => (self.referred, self.welcome),
        }
    }

    /// The grant that a share is: made of the two people, so that there is one whoever grants it how often.
    pub fn grant(&self, share: Share) -> GrantId {
        let share = match share {
            Share::Reward => "reward",
            Share::Welcome => "welcome",
        };
        let digest = Sha256::digest(format!("referral {share} {} {}", self.referrer, self.referred));
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&digest[..16]);
        GrantId::from_uuid(uuid::Builder::from_random_bytes(bytes).into_uuid())
    }

    /// The shares that are to be granted and of which nobody has noted that they were.
    pub fn open_shares(&self) -> impl Iterator<Item = Share> {
        let open = |credits: Credits, at: Option<i64>| credits.is_positive() && at.is_none();
        let shares = [
            (Share::Reward, open(self.reward, self.reward_seq)),
            (Share::Welcome, open(self.welcome, self.welcome_seq)),
        ];
        shares.into_iter().filter(|(_, is_open)| *is_open).map(|(share, _)| share)
    }
}

/// What is given where a referral is earned.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Earning {
    /// The top-up that decides it.
    pub order: OrderId,
    /// To the referrer.
    pub reward: Credits,
    /// To the new user.
    pub welcome: Credits,
    /// Rewards of one referrer in a month.
    pub monthly_cap: u32,
    /// The operator's month: `2026-11`.
    pub month: String,
}

/// How somebody's referrals went.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReferralCount {
    /// People brought.
    pub brought: u64,
    /// Of them, those whose top-up is awaited.
    pub waiting: u64,
    /// Of them, those for whom the referrer was rewarded.
    pub rewarded: u64,
    /// What all rewards come to.
    pub credits: Credits,
    /// Rewards in this month.
    pub this_month: u64,
}

const COLUMNS: &str =
    "referred, referrer, state, created_at, decided_at, reward, welcome, reward_seq, welcome_seq";
/// Crockford's base 32, as with redemption codes.
const ALPHABET: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";
/// Forty bits: not a secret, only not to be hit by chance.
const CODE_LEN: usize = 8;

fn referral(row: &Row) -> Result<Referral, DirectoryError> {
    Ok(Referral {
        referred: row.parsed("referred")?,
        referrer: row.parsed("referrer")?,
        state: row.parsed("state")?,
        created_at: row.moment("created_at")?,
        decided_at: row.opt_moment("decided_at")?,
        reward: row.credits("reward")?,
        welcome: row.credits("welcome")?,
        reward_seq: row.opt_int("reward_seq")?,
        welcome_seq: row.opt_int("welcome_seq")?,
    })
}

/// Notes within a change that a new user was brought. One's own address in another form brings nobody.
pub(super) async fn note(
    tx: &mut Tx,
    referred: AccountId,
    email: &str,
    referrer: AccountId,
) -> Result<(), DirectoryError> {
    let sql = "SELECT email_alias FROM users WHERE id = ? AND status = 'active'";
    let Some(row) = tx.fetch_optional(sql, &[referrer.into()]).await? else { return Ok(()) };
    if row.text("email_alias")? == alias(email) {
        return Ok(());
    }
    let values: [Value; 4] =
        [referred.into(), referrer.into(), ReferralState::Waiting.as_str().into(), now().into()];
    let insert = "INSERT INTO referrals (referred, referrer, state, created_at) VALUES (?, ?, ?, ?)";
    tx.execute(insert, &values).await?;
    Ok(())
}

impl Directory {
    /// The code that a user passes on; made when it is first asked for.
    pub async fn referral_code(&self, user: AccountId) -> Result<String, DirectoryError> {
        loop {
            let sql = "SELECT code FROM referral_codes WHERE user_id = ?";
            if let Some(row) = self.0.db.fetch_optional(sql, &[user.into()]).await? {
                return Ok(row.text("code")?);
            }
            let code: String = rand::random::<[u8; CODE_LEN]>()
                .iter()
                .map(|byte| char::from(ALPHABET[usize::from(byte % 32)]))
                .collect();
            let insert = "INSERT INTO referral_codes (user_id, code) VALUES (?, ?)";
            let made = self.0.db.execute(insert, &[user.into(), code.into()]).await;
            match made.map_err(taken("that code")) {
                // Another request made one, or another user has this one: the next look tells.
                Ok(_) | Err(DirectoryError::Taken(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }

    /// Whose code it is; `None`: nobody's, or of somebody who was switched off.
    pub async fn referrer(&self, code: &str) -> Result<Option<AccountId>, DirectoryError> {
        let sql = "SELECT u.id FROM referral_codes c JOIN users u ON u.id = c.user_id \
                   WHERE c.code = ? AND u.status = 'active'";
        let row = self.0.db.fetch_optional(sql, &[code.trim().to_ascii_uppercase().into()]).await?;
        Ok(row.map(|row| row.parsed("id")).transpose()?)
    }

    /// Referrals whose top-up is awaited, by the new users' ids from behind `after`.
    pub async fn waiting_referrals(
        &self,
        after: Option<AccountId>,
        limit: u32,
    ) -> Result<Vec<Referral>, DirectoryError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM referrals WHERE state = 'waiting' AND referred > ? ORDER BY referred LIMIT ?"
        );
        let after = after.map(|id| id.to_string()).unwrap_or_default();
        let rows = self.0.db.fetch_all(&sql, &[after.into(), i64::from(limit).into()]).await?;
        rows.iter().map(referral).collect()
    }

    /// Ends a referral for which nothing is given. Another process may have decided it before; then nothing happens.
    pub async fn end_referral(&self, it: &Referral, state: ReferralState) -> Result<(), DirectoryError> {
        let update =
            "UPDATE referrals SET state = ?, decided_at = ? WHERE referred = ? AND state = 'waiting'";
        self.0.db.execute(update, &[state.as_str().into(), now().into(), it.referred.into()]).await?;
        Ok(())
    }

    /// Decides what is given for a referral. `None`: another process has.
    pub async fn earn_referral(
        &self,
        it: &Referral,
        earning: &Earning,
    ) -> Result<Option<Referral>, DirectoryError> {
        let mut change = self.change_aside().await?;
        let claim = "UPDATE referrals SET state = ?, decided_at = ?, order_id = ? WHERE referred = ? AND state = 'waiting'";
        let at = now();
        let earned = ReferralState::Earned;
        let values: [Value; 4] =
            [earned.as_str().into(), at.into(), earning.order.into(), it.referred.into()];
        if change.tx.execute(claim, &values).await? == 0 {
            return Ok(None);
        }
        let people = "SELECT id, email_alias, status FROM users WHERE id = ? OR id = ?";
        let rows = change.tx.fetch_all(people, &[it.referrer.into(), it.referred.into()]).await?;
        let mut aliases = Vec::new();
        for row in &rows {
            if row.parsed::<Status>("status")? == Status::Active {
                aliases.push(row.text("email_alias")?);
            }
        }
        let are_two = matches!(&aliases[..], [one, other] if one != other);
        // The month's count starts anew with the month. `rewards` is set first: MySQL reads what it has already set.
        let raise = "UPDATE referral_codes SET rewards = CASE WHEN month = ? THEN rewards + 1 ELSE 1 END, month = ? \
                     WHERE user_id = ? AND (month <> ? OR rewards < ?)";
        let cap = i64::from(earning.monthly_cap);
        let month = || Value::from(earning.month.as_str());
        let values: [Value; 5] = [month(), month(), it.referrer.into(), month(), cap.into()];
        let (state, reward, welcome) = if !are_two {
            (ReferralState::Refused, Credits::ZERO, Credits::ZERO)
        } else if cap > 0 && change.tx.execute(raise, &values).await? > 0 {
            (ReferralState::Earned, earning.reward, earning.welcome)
        } else {
            (ReferralState::Capped, Credits::ZERO, earning.welcome)
        };
        let update = "UPDATE referrals SET state = ?, reward = ?, welcome = ? WHERE referred = ?";
        let values: [Value; 4] = [state.as_str().into(), reward.into(), welcome.into(), it.referred.into()];
        change.tx.execute(update, &values).await?;
        self.finish(change).await?;
        Ok(Some(Referral { state, decided_at: Some(at), reward, welcome, ..it.clone() }))
    }

    /// Does somebody dispute the payment of this order, or has its gateway told of money back that nobody has looked at yet?
    pub async fn is_disputed(&self, order: OrderId) -> Result<bool, DirectoryError> {
        for sql in [
            "SELECT id FROM disputes WHERE order_id = ? AND state IN ('inquiry', 'open') LIMIT 1",
            "SELECT id FROM outside_refunds WHERE order_id = ? AND state = 'open' LIMIT 1",
        ] {
            if self.0.db.fetch_optional(sql, &[order.into()]).await?.is_some() {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Referrals decided before a moment with a share that nobody has noted as granted.
    pub async fn ungranted_referrals(&self, before: Moment) -> Result<Vec<Referral>, DirectoryError> {
        let sql = format!(
            "SELECT {COLUMNS} FROM referrals WHERE state IN ('earned', 'capped') AND decided_at < ? \
             AND ((reward > 0 AND reward_seq IS NULL) OR (welcome > 0 AND welcome_seq IS NULL)) \
             ORDER BY referred LIMIT 100"
        );
        self.0.db.fetch_all(&sql, &[before.into()]).await?.iter().map(referral).collect()
    }

    /// Notes where a share's grant stands on the log.
    pub async fn share_granted(
        &self,
        it: &Referral,
        share: Share,
        event_seq: u64,
    ) -> Result<(), DirectoryError> {
        let column = match share {
            Share::Reward => "reward_seq",
            Share::Welcome => "welcome_seq",
        };
        let position = i64::try_from(event_seq).unwrap_or(i64::MAX);
        let update = format!("UPDATE referrals SET {column} = ? WHERE referred = ?");
        self.0.db.execute(&update, &[position.into(), it.referred.into()]).await?;
        Ok(())
    }

    /// How somebody's referrals went; `month` is the operator's.
    pub async fn referral_count(
        &self,
        user: AccountId,
        month: &str,
    ) -> Result<ReferralCount, DirectoryError> {
        let sql = "SELECT state, reward, COUNT(*) AS people FROM referrals WHERE referrer = ? GROUP BY state, reward";
        let mut count = ReferralCount::default();
        for row in self.0.db.fetch_all(sql, &[user.into()]).await? {
            let (people, reward) = (row.count("people")?, row.credits("reward")?);
            count.brought += people;
            if row.parsed::<ReferralState>("state")? == ReferralState::Waiting {
                count.waiting += people;
            }
            if reward.is_positive() {
                count.rewarded += people;
                let sum = i64::try_from(people).ok().and_then(|n| reward.nano().checked_mul(n));
                let sum = sum.and_then(|nano| count.credits.checked_add(Credits::from_nano(nano)));
                count.credits =
                    sum.ok_or_else(|| super::corrupt("referrals", "the rewards are too large"))?;
            }
        }
        let sql = "SELECT rewards FROM referral_codes WHERE user_id = ? AND month = ?";
        if let Some(row) = self.0.db.fetch_optional(sql, &[user.into(), month.into()]).await? {
            count.this_month = row.count("rewards")?;
        }
        Ok(count)
    }

    /// Referrals, the newest users first, from below `before`.
    pub async fn referrals(
        &self,
        referrer: Option<AccountId>,
        state: Option<ReferralState>,
        before: Option<uuid::Uuid>,
        limit: u32,
    ) -> Result<Vec<Referral>, DirectoryError> {
        let mut sql = format!("SELECT {COLUMNS} FROM referrals WHERE referred < ?");
        // Every id sorts below "~".
        let mut values: Vec<Value> = vec![before.map_or("~".to_owned(), |id| id.to_string()).into()];
        if let Some(referrer) = referrer {
            sql.push_str(" AND referrer = ?");
            values.push(referrer.into());
        }
        if let Some(state) = state {
            sql.push_str(" AND state = ?");
            values.push(state.as_str().into());
        }
        sql.push_str(" ORDER BY referred DESC LIMIT ?");
        values.push(i64::from(limit).into());
        self.0.db.fetch_all(&sql, &values).await?.iter().map(referral).collect()
    }
}
