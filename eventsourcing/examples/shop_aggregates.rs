//! A shop made of aggregates: products with a stock, and carts that are ordered.
//!
//! What to see here:
//! - What must be right at once lies in one save: an order takes its items out of the stock of each product and closes
//!   the cart, atomically over all of them. Two last orders of one product meet at its version: one is decided again.
//! - `edit` is for one aggregate; over several the same is a loop around `repository`, `save` and `is_conflict`.
//! - A cache keeps products in memory; a decision over a stale one costs a second attempt and is never saved.
//! - Events are followed by type, decoded, behind a position that the follower keeps: here to print what was sold.
//!
//! The same shop without aggregates is a matter of conditions over tags.
//!
//! `cargo run -p annals --example shop_aggregates`

use std::collections::BTreeMap;

use annals::{
    Aggregate, AggregateId, AnyRoot, Application, ApplicationBuilder, CacheOptions, DomainError,
    Event, Root,
};
use serde::{Deserialize, Serialize};

/// Cents.
type Money = u64;

// ---- A product and its stock ----

#[derive(Debug, Serialize, Deserialize)]
enum ProductEvent {
    #[serde(rename = "product.added")]
    Added { name: String, price: Money },
    #[serde(rename = "product.stocked")]
    Stocked { count: u32 },
    #[serde(rename = "product.sold")]
    Sold { count: u32, order: AggregateId },
}

impl Event for ProductEvent {}

#[derive(Debug)]
struct Product {
    name: String,
    price: Money,
    stock: u32,
}

impl Aggregate for Product {
    type Event = ProductEvent;

    fn start(event: &ProductEvent) -> Option<Self> {
        let ProductEvent::Added { name, price } = event else {
            return None;
        };
        Some(Self {
            name: name.clone(),
            price: *price,
            stock: 0,
        })
    }

    fn apply(&mut self, event: &ProductEvent) {
        match event {
            ProductEvent::Added { .. } => {}
            ProductEvent::Stocked { count } => self.stock += count,
            // Decided when it was sold; here it has happened.
            ProductEvent::Sold { count, .. } => self.stock = self.stock.saturating_sub(*count),
        }
    }
}

// ---- A cart ----

#[derive(Debug, Serialize, Deserialize)]
enum CartEvent {
    #[serde(rename = "cart.opened")]
    Opened,
    #[serde(rename = "cart.item-added")]
    ItemAdded { product: AggregateId, price: Money },
    #[serde(rename = "cart.item-removed")]
    ItemRemoved { product: AggregateId },
    #[serde(rename = "cart.ordered")]
    Ordered { total: Money },
}

impl Event for CartEvent {}

#[derive(Debug)]
struct Cart {
    /// How many of each, and at what price: the one seen when it was put in.
    items: BTreeMap<AggregateId, (u32, Money)>,
    is_ordered: bool,
}

impl Aggregate for Cart {
    type Event = CartEvent;

    fn start(event: &CartEvent) -> Option<Self> {
        matches!(event, CartEvent::Opened).then(|| Self {
            items: BTreeMap::new(),
            is_ordered: false,
        })
    }

    fn apply(&mut self, event: &CartEvent) {
        match event {
            CartEvent::Opened => {}
            CartEvent::ItemAdded { product, price } => {
                let (count, _) = self.items.get(product).copied().unwrap_or_default();
                self.items.insert(product.clone(), (count + 1, *price));
            }
            CartEvent::ItemRemoved { product } => match self.items.get_mut(product) {
                Some((count, _)) if *count > 1 => *count -= 1,
                _ => drop(self.items.remove(product)),
            },
            CartEvent::Ordered { .. } => self.is_ordered = true,
        }
    }
}

impl Cart {
    fn total(&self) -> Money {
        let items = self.items.values();
        items
            .map(|(count, price)| Money::from(*count) * price)
            .sum()
    }
}

// ---- The shop ----

const ITEMS_MAX: u32 = 5;

#[derive(Debug)]
#[expect(
    dead_code,
    reason = "what went wrong is for people, who see it by Debug"
)]
enum Refused {
    CartFull,
    CartEmpty,
    AlreadyOrdered,
    NotInCart(AggregateId),
    OutOfStock { product: String, left: u32 },
    Domain(DomainError),
    Store(annals::Error),
}

impl From<annals::Error> for Refused {
    fn from(error: annals::Error) -> Self {
        Self::Store(error)
    }
}

impl From<DomainError> for Refused {
    fn from(error: DomainError) -> Self {
        Self::Domain(error)
    }
}

struct Shop {
    app: Application,
}

impl Shop {
    fn in_memory() -> Result<Self, Refused> {
        let builder = ApplicationBuilder::in_memory().cache(CacheOptions::lru(1_000));
        let app = builder.build()?;
        Ok(Self { app })
    }

    fn add_product(&self, name: &str, price: Money, stock: u32) -> Result<AggregateId, Refused> {
        let name = name.to_owned();
        let mut product =
            Root::<Product>::new(self.app.new_id(), ProductEvent::Added { name, price })?;
        product.trigger(ProductEvent::Stocked { count: stock });
        Ok(self.app.add(product)?)
    }

    fn open_cart(&self) -> Result<AggregateId, Refused> {
        let cart = Root::<Cart>::new(self.app.new_id(), CartEvent::Opened)?;
        Ok(self.app.add(cart)?)
    }

    fn put_in(&self, cart: &AggregateId, product: &AggregateId) -> Result<(), Refused> {
        let price = self
            .app
            .repository()
            .read::<Product, _>(product, |product| product.price)?;
        self.app.edit::<Cart, _>(cart, |cart| {
            if cart.is_ordered {
                return Err(Refused::AlreadyOrdered);
            }
            if cart.items.values().map(|(count, _)| count).sum::<u32>() >= ITEMS_MAX {
                return Err(Refused::CartFull);
            }
            let product = product.clone();
            cart.trigger(CartEvent::ItemAdded { product, price });
            Ok(())
        })
    }

    fn take_out(&self, cart: &AggregateId, product: &AggregateId) -> Result<(), Refused> {
        self.app.edit::<Cart, _>(cart, |cart| {
            if cart.is_ordered {
                return Err(Refused::AlreadyOrdered);
            }
            if !cart.items.contains_key(product) {
                return Err(Refused::NotInCart(product.clone()));
            }
            let product = product.clone();
            cart.trigger(CartEvent::ItemRemoved { product });
            Ok(())
        })
    }

    /// Orders what is in a cart, again when a product was sold to somebody else meanwhile. Answers the total.
    fn order(&self, cart: &AggregateId) -> Result<Money, Refused> {
        loop {
            match self.try_to_order(cart) {
                Err(Refused::Store(error)) if error.is_conflict() => {}
                ordered => return ordered,
            }
        }
    }

    fn try_to_order(&self, cart: &AggregateId) -> Result<Money, Refused> {
        let mut cart = self.app.repository().get::<Cart>(cart)?;
        if cart.is_ordered {
            return Err(Refused::AlreadyOrdered);
        }
        if cart.items.is_empty() {
            return Err(Refused::CartEmpty);
        }
        let mut products = Vec::new();
        for (id, (count, _)) in &cart.items {
            let mut product = self.app.repository().get::<Product>(id)?;
            if product.stock < *count {
                return Err(Refused::OutOfStock {
                    product: product.name.clone(),
                    left: product.stock,
                });
            }
            let (count, order) = (*count, cart.id().clone());
            product.trigger(ProductEvent::Sold { count, order });
            products.push(product);
        }
        let total = cart.total();
        cart.trigger(CartEvent::Ordered { total });

        let mut all: Vec<&mut dyn AnyRoot> = vec![&mut cart];
        all.extend(
            products
                .iter_mut()
                .map(|product| product as &mut dyn AnyRoot),
        );
        self.app.save(all)?;
        Ok(total)
    }

    fn stock(&self, product: &AggregateId) -> Result<u32, Refused> {
        Ok(self
            .app
            .repository()
            .read::<Product, _>(product, |product| product.stock)?)
    }
}

fn main() -> Result<(), Refused> {
    let shop = Shop::in_memory()?;
    let tea = shop.add_product("tea", 450, 3)?;
    let cup = shop.add_product("cup", 1_200, 1)?;

    let (ann, bob) = (shop.open_cart()?, shop.open_cart()?);
    for (cart, product) in [
        (&ann, &tea),
        (&ann, &tea),
        (&ann, &cup),
        (&bob, &cup),
        (&bob, &tea),
    ] {
        shop.put_in(cart, product)?;
    }
    println!("ann pays {}", shop.order(&ann)?);
    // The last cup is gone, and bob's order leaves nothing behind: the tea is still there.
    assert!(matches!(
        shop.order(&bob),
        Err(Refused::OutOfStock { left: 0, .. })
    ));
    assert_eq!(shop.stock(&tea)?, 1);
    shop.take_out(&bob, &cup)?;
    println!("bob pays {}", shop.order(&bob)?);

    // Whoever wants to know what was sold follows the events of products.
    let mut seen = shop.app.subscribe_events::<ProductEvent>(0)?;
    let last = shop.app.recorder().max_position();
    let last = last.ok().flatten().unwrap_or(0);
    while seen.position() < last {
        let Some(followed) = seen.next_timeout(std::time::Duration::from_millis(1)) else {
            continue;
        };
        let followed = followed?;
        if let ProductEvent::Sold { count, .. } = followed.event.event {
            println!(
                "{}: sold {count} of {}",
                followed.position, followed.event.aggregate_id
            );
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_program_runs() {
        main().unwrap();
    }

    #[test]
    fn an_order_takes_from_the_stock_and_closes_the_cart() {
        let shop = Shop::in_memory().unwrap();
        let (tea, cup) = (
            shop.add_product("tea", 450, 3).unwrap(),
            shop.add_product("cup", 1_200, 2).unwrap(),
        );
        let cart = shop.open_cart().unwrap();
        for product in [&tea, &tea, &cup] {
            shop.put_in(&cart, product).unwrap();
        }
        assert_eq!(shop.order(&cart).unwrap(), 2_100);
        assert_eq!(
            (shop.stock(&tea).unwrap(), shop.stock(&cup).unwrap()),
            (1, 1)
        );
        assert!(matches!(shop.order(&cart), Err(Refused::AlreadyOrdered)));
        assert!(matches!(
            shop.put_in(&cart, &tea),
            Err(Refused::AlreadyOrdered)
        ));
        assert!(matches!(
            shop.take_out(&cart, &tea),
            Err(Refused::AlreadyOrdered)
        ));
    }

    #[test]
    fn an_order_that_is_refused_changes_nothing() {
        let shop = Shop::in_memory().unwrap();
        let (tea, cup) = (
            shop.add_product("tea", 450, 3).unwrap(),
            shop.add_product("cup", 1_200, 0).unwrap(),
        );
        let cart = shop.open_cart().unwrap();
        assert!(matches!(shop.order(&cart), Err(Refused::CartEmpty)));
        shop.put_in(&cart, &tea).unwrap();
        shop.put_in(&cart, &cup).unwrap();
        assert!(matches!(shop.order(&cart), Err(Refused::OutOfStock { .. })));
        assert_eq!(shop.stock(&tea).unwrap(), 3);
        shop.take_out(&cart, &cup).unwrap();
        assert!(matches!(
            shop.take_out(&cart, &cup),
            Err(Refused::NotInCart(_))
        ));
        assert_eq!(shop.order(&cart).unwrap(), 450);
    }

    #[test]
    fn a_cart_holds_so_many_items() {
        let shop = Shop::in_memory().unwrap();
        let tea = shop.add_product("tea", 450, 9).unwrap();
        let cart = shop.open_cart().unwrap();
        for _ in 0..ITEMS_MAX {
            shop.put_in(&cart, &tea).unwrap();
        }
        assert!(matches!(shop.put_in(&cart, &tea), Err(Refused::CartFull)));
    }

    #[test]
    fn of_many_who_want_the_last_ones_as_many_get_them_as_there_are() {
        let shop = Shop::in_memory().unwrap();
        let tea = shop.add_product("tea", 450, 3).unwrap();
        let carts: Vec<_> = (0..8).map(|_| shop.open_cart().unwrap()).collect();
        carts
            .iter()
            .for_each(|cart| shop.put_in(cart, &tea).unwrap());
        let ordered = std::thread::scope(|scope| {
            let orders: Vec<_> = carts
                .iter()
                .map(|cart| scope.spawn(|| shop.order(cart).is_ok()))
                .collect();
            let won = orders.into_iter().filter_map(|order| order.join().ok());
            won.filter(|won| *won).count()
        });
        assert_eq!((ordered, shop.stock(&tea).unwrap()), (3, 0));
    }
}
