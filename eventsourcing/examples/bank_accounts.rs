//! Bank accounts: rules, refusals, and a transfer that changes two aggregates or none.
//!
//! - What can happen to an account is private to its module: from outside there are commands, which check first.
//! - A transfer withdraws from one account and deposits in another. Both are saved in one call, which stores the events of
//!   both or of none.
//! - Two clerks may serve the same accounts at once. Who saves second is told of a conflict, loads again and decides
//!   again: the balance that was checked is the balance that is changed.

use annals::{AggregateId, Application, Root};

use account::{Account, AccountCommands, Refusal};

/// The aggregate, in a module of its own: so its events are its own, too.
mod account {
    use annals::aggregate;

    /// Money is counted in cents.
    pub(crate) struct Account {
        pub(crate) owner: String,
        pub(crate) balance: i64,
        /// How far the balance may go below zero.
        overdraft: i64,
        is_closed: bool,
    }

    /// Why an account refuses.
    #[derive(Debug, PartialEq, Eq, thiserror::Error)]
    pub(crate) enum Refusal {
        #[error("the account is closed")]
        Closed,
        #[error("an amount has to be above zero")]
        NoAmount,
        #[error("{missing} cents are missing")]
        InsufficientFunds { missing: i64 },
        #[error("there is money in the account, or owed to the bank: {balance} cents")]
        NotEven { balance: i64 },
    }

    #[aggregate(name = "account")]
    impl Account {
        #[event(Opened)]
        pub(crate) fn open(owner: impl Into<String>) -> Self {
            Account {
                owner: owner.into(),
                balance: 0,
                overdraft: 0,
                is_closed: false,
            }
        }

        #[event(Deposited)]
        fn deposited(&mut self, cents: i64) {
            self.balance += cents;
        }

        #[event(Withdrawn)]
        fn withdrawn(&mut self, cents: i64) {
            self.balance -= cents;
        }

        #[event(OverdraftAgreed)]
        fn overdraft_agreed(&mut self, cents: i64) {
            self.overdraft = cents;
        }

        #[event(Closed)]
        fn closed(&mut self) {
            self.is_closed = true;
        }

        #[command]
        pub(crate) fn deposit(&mut self, cents: i64) -> Result<(), Refusal> {
            self.check(cents)?;
            self.deposited(cents);
            Ok(())
        }

        #[command]
        pub(crate) fn withdraw(&mut self, cents: i64) -> Result<(), Refusal> {
            self.check(cents)?;
            match self.balance + self.overdraft - cents {
                missing if missing < 0 => Err(Refusal::InsufficientFunds { missing: -missing }),
                _ => {
                    self.withdrawn(cents);
                    Ok(())
                }
            }
        }

        #[command]
        pub(crate) fn agree_overdraft(&mut self, cents: i64) -> Result<(), Refusal> {
            self.check(cents)?;
            self.overdraft_agreed(cents);
            Ok(())
        }

        #[command]
        pub(crate) fn close(&mut self) -> Result<(), Refusal> {
            match self.balance {
                // Closed is closed: nothing happens a second time.
                _ if self.is_closed => Ok(()),
                0 => {
                    self.closed();
                    Ok(())
                }
                balance => Err(Refusal::NotEven { balance }),
            }
        }

        /// What every change of money asks. No attribute: this is the state's own.
        fn check(&self, cents: i64) -> Result<(), Refusal> {
            match cents {
                _ if self.is_closed => Err(Refusal::Closed),
                ..=0 => Err(Refusal::NoAmount),
                _ => Ok(()),
            }
        }
    }
}

/// What the bank answers: the account's reason, or the store's.
#[derive(Debug, thiserror::Error)]
enum BankError {
    #[error("refused")]
    Refused(#[from] Refusal),
    #[error("not stored")]
    Store(#[from] annals::Error),
}

/// The application: what clerks can do.
struct Bank {
    accounts: Application,
}

impl Bank {
    fn open_account(&self, owner: &str) -> Result<AggregateId, BankError> {
        let account = Account::open(self.accounts.new_id(), owner);
        Ok(self.accounts.add(account)?)
    }

    fn account(&self, id: &AggregateId) -> Result<Root<Account>, BankError> {
        Ok(self.accounts.repository().get(id)?)
    }

    /// Does something with an account and saves it. Several may do so at once: `edit` decides again when somebody else was
    /// faster.
    fn with_account(
        &self,
        id: &AggregateId,
        act: impl Fn(&mut Root<Account>) -> Result<(), Refusal>,
    ) -> Result<(), BankError> {
        self.accounts.edit(id, |account: &mut Root<Account>| {
            act(account).map_err(BankError::from)
        })?;
        Ok(())
    }

    /// From one account to another: both change, or none. What `edit` does for one aggregate is done by hand for two: who
    /// was overtaken loads and decides again. Each time somebody was overtaken somebody got on, so all of them do.
    fn transfer(&self, from: &AggregateId, to: &AggregateId, cents: i64) -> Result<(), BankError> {
        loop {
            let (mut payer, mut payee) = (self.account(from)?, self.account(to)?);
            payer.withdraw(cents)?;
            payee.deposit(cents)?;
            match self.accounts.save((&mut payer, &mut payee)) {
                Err(error) if error.is_conflict() => {}
                Err(error) => return Err(error.into()),
                Ok(_) => return Ok(()),
            }
        }
    }
}

fn main() -> Result<(), BankError> {
    let bank = Bank {
        accounts: Application::in_memory(),
    };
    let (ann, bob) = (bank.open_account("Ann")?, bank.open_account("Bob")?);
    bank.with_account(&ann, |account| account.deposit(10_000))?;
    bank.transfer(&ann, &bob, 3_000)?;

    // One cent more than there is: neither account changes, until Ann has agreed with the bank.
    let refused = bank.transfer(&ann, &bob, 7_001);
    let missing = Refusal::InsufficientFunds { missing: 1 };
    assert!(matches!(refused, Err(BankError::Refused(reason)) if reason == missing));
    bank.with_account(&ann, |account| account.agree_overdraft(5_000))?;
    bank.transfer(&ann, &bob, 7_001)?;

    for (id, balance) in [(&ann, -1), (&bob, 10_001)] {
        let account = bank.account(id)?;
        println!("{} has {} cents", account.owner, account.balance);
        assert_eq!(account.balance, balance);
    }

    bank.with_account(&bob, |account| account.withdraw(10_001))?;
    bank.with_account(&bob, |account| account.close())?;
    assert!(bank.transfer(&ann, &bob, 1).is_err());
    Ok(())
}

#[test]
fn it_runs_to_its_end() -> Result<(), BankError> {
    main()
}

#[test]
fn an_account_refuses_what_its_rules_forbid() {
    use account::AccountEvent;
    use annals::testing::given;

    let opened = || AccountEvent::Opened {
        owner: "Ann".to_owned(),
    };
    let deposited = |cents| AccountEvent::Deposited { cents };
    let withdrawn = |cents| AccountEvent::Withdrawn { cents };

    given::<Account>([opened(), deposited(10)])
        .when(|account| account.withdraw(10))
        .then([withdrawn(10)])
        .and_state(|account| assert_eq!(account.balance, 0));
    given::<Account>([opened(), deposited(10)])
        .when(|account| account.withdraw(11))
        .then_error(Refusal::InsufficientFunds { missing: 1 });
    given::<Account>([opened(), AccountEvent::OverdraftAgreed { cents: 5 }])
        .when(|account| account.withdraw(5))
        .then([withdrawn(5)]);
    given::<Account>([opened(), deposited(1)])
        .when(|account| account.close())
        .then_error(Refusal::NotEven { balance: 1 });
    given::<Account>([opened(), AccountEvent::Closed {}])
        .when(|account| account.close())
        .then_nothing();
    for cents in [0, -1] {
        given::<Account>([opened()])
            .when(|account| account.deposit(cents))
            .then_error(Refusal::NoAmount);
    }
    given::<Account>([opened(), AccountEvent::Closed {}])
        .when(|account| account.agree_overdraft(1))
        .then_error(Refusal::Closed);
}

#[test]
fn clerks_at_the_same_accounts_neither_lose_nor_make_money() -> Result<(), BankError> {
    let bank = &Bank {
        accounts: Application::in_memory(),
    };
    let (ann, bob) = (&bank.open_account("Ann")?, &bank.open_account("Bob")?);
    bank.with_account(ann, |account| account.deposit(1_000))?;
    std::thread::scope(|threads| {
        for _ in 0..4 {
            threads.spawn(|| {
                for _ in 0..20 {
                    bank.transfer(ann, bob, 3).expect("there is enough");
                    bank.transfer(bob, ann, 1).expect("there is enough");
                }
            });
        }
    });
    assert_eq!(bank.account(ann)?.balance, 1_000 - 4 * 20 * 2);
    assert_eq!(bank.account(bob)?.balance, 4 * 20 * 2);
    Ok(())
}
