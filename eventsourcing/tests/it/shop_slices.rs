//! The shop in slices: its rules, and what happens when many want the last piece.

use std::sync::Arc;
use std::thread;

use annals::{DcbRecorder, LogRecorder, MemoryRecorder};

#[path = "../../examples/shop_slices.rs"]
mod shop;

use shop::{AddItem, AddProduct, ReceiveStock, Refused, RemoveItem, Shop, Submit};

/// A shop on each recorder, with tea for 4.50 and two pieces of it.
fn shops() -> [Shop; 2] {
    let log = annals_engine::Log::in_memory().unwrap();
    let stores: [Arc<dyn DcbRecorder>; 2] = [
        Arc::new(MemoryRecorder::new()),
        Arc::new(LogRecorder::from(log)),
    ];
    stores.map(|store| {
        let shop = Shop::on(store);
        shop.run(tea()).unwrap();
        shop.run(receive(2)).unwrap();
        shop
    })
}

fn tea() -> AddProduct<'static> {
    AddProduct {
        product: "tea",
        name: "Green tea",
        price: 450,
    }
}

fn receive(pieces: u64) -> ReceiveStock<'static> {
    ReceiveStock {
        product: "tea",
        pieces,
    }
}

fn add(cart: &str) -> AddItem<'_> {
    AddItem {
        cart,
        product: "tea",
    }
}

#[test]
fn the_example_runs() {
    shop::main().unwrap();
}

#[test]
fn a_product_is_added_once_and_before_anything_else() {
    for shop in shops() {
        assert!(matches!(shop.run(tea()), Err(Refused::AlreadyThere)));
        let coffee = AddItem {
            cart: "ann",
            product: "coffee",
        };
        assert!(matches!(shop.run(coffee), Err(Refused::NoSuchProduct)));
        let coffee = ReceiveStock {
            product: "coffee",
            pieces: 1,
        };
        assert!(matches!(shop.run(coffee), Err(Refused::NoSuchProduct)));
    }
}

#[test]
fn a_cart_holds_three_pieces_and_gives_them_back() {
    for shop in shops() {
        for _ in 0..3 {
            shop.run(add("ann")).unwrap();
        }
        assert!(matches!(shop.run(add("ann")), Err(Refused::CartFull)));
        assert_eq!(shop.price_of("ann").unwrap(), 1350);
        let remove = || RemoveItem {
            cart: "ann",
            product: "tea",
        };
        for _ in 0..3 {
            shop.run(remove()).unwrap();
        }
        assert!(matches!(shop.run(remove()), Err(Refused::NotInCart)));
        assert!(matches!(shop.submit("ann"), Err(Refused::CartEmpty)));
    }
}

#[test]
fn a_submitted_cart_is_closed() {
    for shop in shops() {
        shop.run(add("ann")).unwrap();
        shop.submit("ann").unwrap();
        assert!(matches!(shop.run(add("ann")), Err(Refused::CartSubmitted)));
        assert!(matches!(shop.submit("ann"), Err(Refused::CartSubmitted)));
    }
}

#[test]
fn what_was_looked_at_is_what_is_bought() {
    for shop in shops() {
        shop.run(add("ann")).unwrap();
        let pieces = shop.pieces_in("ann").unwrap();
        shop.run(add("ann")).unwrap();
        let submit = Submit {
            cart: "ann",
            pieces,
        };
        assert!(matches!(shop.run(submit), Err(Refused::CartChanged)));
    }
}

#[test]
fn no_more_is_sold_than_is_there() {
    for shop in shops() {
        let carts: Vec<_> = (0..6).map(|number| format!("cart{number}")).collect();
        carts.iter().for_each(|cart| shop.run(add(cart)).unwrap());
        shop.run(receive(1)).unwrap();
        let sold = thread::scope(|scope| {
            let threads: Vec<_> = carts
                .iter()
                .map(|cart| scope.spawn(|| shop.submit(cart)))
                .collect();
            let outcomes = threads.into_iter().map(|thread| thread.join().unwrap());
            outcomes
                .filter(|outcome| match outcome {
                    Ok(()) => true,
                    Err(Refused::OutOfStock { left: 0, .. }) => false,
                    Err(refused) => panic!("{refused:?}"),
                })
                .count()
        });
        assert_eq!(sold, 3);
        shop.run(receive(1)).unwrap();
        let sold: usize = carts
            .iter()
            .filter(|cart| shop.submit(cart).is_ok())
            .count();
        assert_eq!(sold, 1);
    }
}
