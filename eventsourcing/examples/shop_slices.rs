//! A shop in vertical slices: products, stock, carts, and the rule that nothing is sold that is not there.
//!
//! Each use case stands by itself and reads what its rule needs: filling a cart looks at the cart and at whether the shop
//! has the product, not at its stock; submitting one looks at the cart and at the stock of what is in it. So two people
//! fill their carts without meeting, and meet over the last piece only. Stock is no aggregate that carts would have to
//! update: it is what the events about a product add up to, sales included.
//!
//! With aggregates, cart and stock would lie in two, and a sale would have to change both: by a lock on popular products, or
//! by a correction afterwards. That is what the boundary of a decision is for.

use std::collections::BTreeMap;
use std::sync::Arc;

use annals::{
    DcbApplication, DcbError, DcbRecorder, DecisionModel, Event, MemoryRecorder, Perspective,
    Query, QueryItem, Retries, Slice,
};
use serde::{Deserialize, Serialize};

/// What is written. Prices are in cents.
#[derive(Serialize, Deserialize)]
enum ShopEvent {
    #[serde(rename = "product.added")]
    ProductAdded {
        product: String,
        name: String,
        price: u64,
    },
    #[serde(rename = "stock.received")]
    StockReceived { product: String, pieces: u64 },
    #[serde(rename = "cart.item-added")]
    ItemAdded { cart: String, product: String },
    #[serde(rename = "cart.item-removed")]
    ItemRemoved { cart: String, product: String },
    #[serde(rename = "cart.submitted")]
    Submitted {
        cart: String,
        pieces: BTreeMap<String, u64>,
    },
}

impl Event for ShopEvent {
    fn tags(&self) -> Vec<String> {
        match self {
            Self::ProductAdded { product, .. } | Self::StockReceived { product, .. } => {
                vec![product_tag(product)]
            }
            Self::ItemAdded { cart, .. } | Self::ItemRemoved { cart, .. } => vec![cart_tag(cart)],
            // A sale concerns the stock of everything sold.
            Self::Submitted { cart, pieces } => {
                let products = pieces.keys().map(|product| product_tag(product));
                products.chain([cart_tag(cart)]).collect()
            }
        }
    }
}

fn product_tag(product: &str) -> String {
    format!("product:{product}")
}

fn cart_tag(cart: &str) -> String {
    format!("cart:{cart}")
}

#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("the shop has this product already")]
    AlreadyThere,
    #[error("the shop has no such product")]
    NoSuchProduct,
    #[error("the cart holds as many pieces as allowed")]
    CartFull,
    #[error("there is no such piece in the cart")]
    NotInCart,
    #[error("the cart is empty")]
    CartEmpty,
    #[error("the cart has been submitted")]
    CartSubmitted,
    #[error("of {product} there are {left} pieces left")]
    OutOfStock { product: String, left: u64 },
    #[error("the cart has changed since it was looked at")]
    CartChanged,
    #[error("the store refuses")]
    Failed(#[from] DcbError),
}

/// Name and price of a product; `None` while the shop does not have it.
pub(crate) struct Product {
    product: String,
    offer: Option<(String, u64)>,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum ProductEvent {
    #[serde(rename = "product.added")]
    Added { name: String, price: u64 },
}

impl Event for ProductEvent {}

impl DecisionModel for Product {
    type Event = ProductEvent;

    fn boundary(&self) -> Query {
        QueryItem::of::<ProductEvent>()
            .tag(product_tag(&self.product))
            .into()
    }

    fn apply(&mut self, event: &ProductEvent) {
        let ProductEvent::Added { name, price } = event;
        self.offer = Some((name.clone(), *price));
    }
}

fn product(product: &str) -> Product {
    let product = product.to_owned();
    let offer = None;
    Product { product, offer }
}

/// Pieces of a product that are there and not sold.
pub(crate) struct Stock {
    product: String,
    pieces: u64,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum StockEvent {
    #[serde(rename = "stock.received")]
    Received { pieces: u64 },
    #[serde(rename = "cart.submitted")]
    Sold { pieces: BTreeMap<String, u64> },
}

impl Event for StockEvent {}

impl DecisionModel for Stock {
    type Event = StockEvent;

    fn boundary(&self) -> Query {
        QueryItem::of::<StockEvent>()
            .tag(product_tag(&self.product))
            .into()
    }

    fn apply(&mut self, event: &StockEvent) {
        match event {
            StockEvent::Received { pieces } => self.pieces += pieces,
            StockEvent::Sold { pieces } => {
                self.pieces -= pieces.get(&self.product).copied().unwrap_or(0);
            }
        }
    }
}

/// Pieces of each product in a cart.
pub(crate) struct Cart {
    cart: String,
    pieces: BTreeMap<String, u64>,
    is_submitted: bool,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum CartEvent {
    #[serde(rename = "cart.item-added")]
    ItemAdded { product: String },
    #[serde(rename = "cart.item-removed")]
    ItemRemoved { product: String },
    #[serde(rename = "cart.submitted")]
    Submitted {},
}

impl Event for CartEvent {}

impl DecisionModel for Cart {
    type Event = CartEvent;

    fn boundary(&self) -> Query {
        QueryItem::of::<CartEvent>()
            .tag(cart_tag(&self.cart))
            .into()
    }

    fn apply(&mut self, event: &CartEvent) {
        match event {
            CartEvent::ItemAdded { product } => {
                *self.pieces.entry(product.clone()).or_default() += 1;
            }
            CartEvent::ItemRemoved { product } => {
                if let Some(pieces) = self.pieces.get_mut(product) {
                    *pieces -= 1;
                }
                self.pieces.retain(|_, pieces| *pieces > 0);
            }
            CartEvent::Submitted {} => self.is_submitted = true,
        }
    }
}

impl Cart {
    fn check_open(&self) -> Result<(), Refused> {
        match self.is_submitted {
            true => Err(Refused::CartSubmitted),
            false => Ok(()),
        }
    }
}

fn cart(cart: &str) -> Cart {
    Cart {
        cart: cart.to_owned(),
        pieces: BTreeMap::new(),
        is_submitted: false,
    }
}

pub(crate) struct AddProduct<'a> {
    pub(crate) product: &'a str,
    pub(crate) name: &'a str,
    pub(crate) price: u64,
}

impl Slice for AddProduct<'_> {
    type Models = Product;
    type Value = ();
    type Error = Refused;

    fn models(&self) -> Product {
        product(self.product)
    }

    fn decide(&self, seen: &mut Perspective<Product>) -> Result<(), Refused> {
        if seen.offer.is_some() {
            return Err(Refused::AlreadyThere);
        }
        Ok(seen.trigger(ShopEvent::ProductAdded {
            product: self.product.to_owned(),
            name: self.name.to_owned(),
            price: self.price,
        })?)
    }
}

pub(crate) struct ReceiveStock<'a> {
    pub(crate) product: &'a str,
    pub(crate) pieces: u64,
}

impl Slice for ReceiveStock<'_> {
    /// Not the stock: whatever is there, more may come.
    type Models = Product;
    type Value = ();
    type Error = Refused;

    fn models(&self) -> Product {
        product(self.product)
    }

    fn decide(&self, seen: &mut Perspective<Product>) -> Result<(), Refused> {
        if seen.offer.is_none() {
            return Err(Refused::NoSuchProduct);
        }
        Ok(seen.trigger(ShopEvent::StockReceived {
            product: self.product.to_owned(),
            pieces: self.pieces,
        })?)
    }
}

pub(crate) struct AddItem<'a> {
    pub(crate) cart: &'a str,
    pub(crate) product: &'a str,
}

impl Slice for AddItem<'_> {
    type Models = (Cart, Product);
    type Value = ();
    type Error = Refused;

    fn models(&self) -> (Cart, Product) {
        (cart(self.cart), product(self.product))
    }

    fn decide(&self, seen: &mut Perspective<(Cart, Product)>) -> Result<(), Refused> {
        let (cart, product) = &**seen;
        cart.check_open()?;
        if product.offer.is_none() {
            return Err(Refused::NoSuchProduct);
        }
        if cart.pieces.values().sum::<u64>() >= PIECES_MAX {
            return Err(Refused::CartFull);
        }
        Ok(seen.trigger(ShopEvent::ItemAdded {
            cart: self.cart.to_owned(),
            product: self.product.to_owned(),
        })?)
    }
}

pub(crate) struct RemoveItem<'a> {
    pub(crate) cart: &'a str,
    pub(crate) product: &'a str,
}

impl Slice for RemoveItem<'_> {
    type Models = Cart;
    type Value = ();
    type Error = Refused;

    fn models(&self) -> Cart {
        cart(self.cart)
    }

    fn decide(&self, seen: &mut Perspective<Cart>) -> Result<(), Refused> {
        seen.check_open()?;
        if !seen.pieces.contains_key(self.product) {
            return Err(Refused::NotInCart);
        }
        Ok(seen.trigger(ShopEvent::ItemRemoved {
            cart: self.cart.to_owned(),
            product: self.product.to_owned(),
        })?)
    }
}

/// Which stocks a sale looks at depends on the cart, so whoever submits one has looked at it, and says what was in it.
pub(crate) struct Submit<'a> {
    pub(crate) cart: &'a str,
    pub(crate) pieces: BTreeMap<String, u64>,
}

impl Slice for Submit<'_> {
    type Models = (Cart, Vec<Stock>);
    type Value = ();
    type Error = Refused;

    fn models(&self) -> (Cart, Vec<Stock>) {
        let stock = |product: &String| Stock {
            product: product.clone(),
            pieces: 0,
        };
        (cart(self.cart), self.pieces.keys().map(stock).collect())
    }

    fn decide(&self, seen: &mut Perspective<(Cart, Vec<Stock>)>) -> Result<(), Refused> {
        let (cart, stocks) = &**seen;
        cart.check_open()?;
        if cart.pieces != self.pieces {
            return Err(Refused::CartChanged);
        }
        if cart.pieces.is_empty() {
            return Err(Refused::CartEmpty);
        }
        for stock in stocks {
            if stock.pieces < self.pieces[&stock.product] {
                return Err(Refused::OutOfStock {
                    product: stock.product.clone(),
                    left: stock.pieces,
                });
            }
        }
        Ok(seen.trigger(ShopEvent::Submitted {
            cart: self.cart.to_owned(),
            pieces: self.pieces.clone(),
        })?)
    }
}

pub(crate) struct Shop {
    app: DcbApplication,
}

impl Shop {
    pub(crate) fn on(recorder: Arc<dyn DcbRecorder>) -> Self {
        // A rush for the last places is met with patience.
        let retries = Retries {
            attempts: 100,
            ..Retries::default()
        };
        let builder = DcbApplication::builder(recorder).retries(retries);
        Self {
            app: builder.build().expect("the options are in range"),
        }
    }

    pub(crate) fn run<S: Slice<Value = (), Error = Refused>>(
        &self,
        slice: S,
    ) -> Result<(), Refused> {
        self.app.run(&slice).map(drop)
    }

    /// What is in a cart: a model, read without deciding anything.
    pub(crate) fn pieces_in(&self, id: &str) -> Result<BTreeMap<String, u64>, Refused> {
        Ok(self.app.load(cart(id))?.into_models().pieces)
    }

    /// What a cart costs, in cents.
    pub(crate) fn price_of(&self, id: &str) -> Result<u64, Refused> {
        let pieces = self.pieces_in(id)?;
        let products: Vec<_> = pieces.keys().map(|id| product(id)).collect();
        let products = self.app.load(products)?;
        let price = |product: &Product| {
            let price = product.offer.as_ref().map_or(0, |(_, price)| *price);
            price * pieces[&product.product]
        };
        Ok(products.iter().map(price).sum())
    }

    /// Looks at the cart and submits what is in it.
    pub(crate) fn submit(&self, cart: &str) -> Result<(), Refused> {
        let pieces = self.pieces_in(cart)?;
        self.run(Submit { cart, pieces })
    }
}

/// Most pieces in a cart.
const PIECES_MAX: u64 = 3;

pub(crate) fn main() -> Result<(), Refused> {
    let shop = Shop::on(Arc::new(MemoryRecorder::new()));
    shop.run(AddProduct {
        product: "tea",
        name: "Green tea",
        price: 450,
    })?;
    shop.run(ReceiveStock {
        product: "tea",
        pieces: 2,
    })?;

    for cart in ["ann", "ann", "bob"] {
        shop.run(AddItem {
            cart,
            product: "tea",
        })?;
    }
    assert_eq!(shop.price_of("ann")?, 900);
    shop.submit("ann")?;
    assert!(matches!(
        shop.submit("bob"),
        Err(Refused::OutOfStock { left: 0, .. })
    ));
    shop.run(RemoveItem {
        cart: "bob",
        product: "tea",
    })?;
    assert!(matches!(shop.submit("bob"), Err(Refused::CartEmpty)));
    Ok(())
}
