//! Tables of mixed columns, and models of them.

use kiln::Result;
use kiln::classical::prelude::*;
use kiln::classical::table::{Estimator, Kind, Schema, Table, TableModel, TablePredictions, Values};
use ndarray::array;
use serde_json::json;

const CSV: &str =
    "age; city; paid; price\n31; Ulm; true; 10.5\n; Bonn; false; 7\n25; ?; true; 1e1\n40; Ulm; NA; 12\n";

#[test]
fn columns_have_their_types_and_gaps() -> Result<()> {
    let table = Table::parse(CSV.as_bytes(), "pets.csv")?;
    assert_eq!(table.rows(), 4);
    let Values::Numbers(ages) = &table.column("age")?.values else { panic!("ages are numbers") };
    assert!(ages[1].is_nan() && ages[0] == 31.0);
    let schema = Schema::of(&table);
    let cities = Kind::Category(vec!["Bonn".into(), "Ulm".into()]);
    assert_eq!(schema.columns()[1], ("city".to_owned(), cities));
    assert_eq!((schema.numbers(), schema.categories()), (vec![0, 3], vec![1, 2]));
    let matrix = schema.matrix(&table)?;
    assert_eq!(matrix.column(3).to_vec(), [10.5, 7.0, 10.0, 12.0]);
    assert!(matrix[[2, 1]].is_nan() && matrix[[3, 2]].is_nan());

    // A new table has other columns, another order, a new city.
    let new = Table::parse(b"price,city,paid,age,more\n3,Rom,false,7,x\n", "new.csv")?;
    assert_eq!(schema.matrix(&new)?, array![[7.0, 2.0, 0.0, 3.0]]);
    let error = schema.matrix(&new.drop(&["price"])?).expect_err("price is gone");
    assert!(error.to_string().contains("\"price\""), "{error}");
    let text = Table::parse(b"price,city,paid,age\n3,Ulm,true,7\n4,Ulm,true,old\n", "new.csv")?;
    let error = schema.matrix(&text).expect_err("an age that is text");
    assert!(
        error.to_string().contains("line 3, column \"age\"") && error.to_string().contains("old"),
        "{error}"
    );
    Ok(())
}

#[test]
fn targets_are_classes_or_numbers() -> Result<()> {
    let table = Table::parse(b"a,kind,grade,weight\n1,cat,2,0.5\n2,dog,10,1.5\n3,cat,2,2.5\n", "x.csv")?;
    let (labels, names) = table.labels("kind")?;
    assert_eq!((labels, names.classes()), (vec![0, 1, 0], ["cat".to_owned(), "dog".to_owned()].as_slice()));
    assert_eq!(table.labels("grade")?.1.classes(), ["2", "10"], "numbers are in their order");
    assert!(matches!(table.target("kind")?, Target::Classes(_)));
    assert!(matches!(table.target("grade")?, Target::Classes(_)));
    assert_eq!(table.target("weight")?, Target::Values(vec![0.5, 1.5, 2.5]));
    assert_eq!(table.take(&[2, 0])?.targets("weight")?, [2.5, 0.5]);
    assert_eq!(table.select(&["weight", "a"])?.columns()[1].name, "a");
    Ok(())
}

#[test]
fn wrong_files_are_refused_with_their_line() {
    for (csv, says) in [
        ("a,b\n1,2\n3\n", "line: 3"),
        ("a,a\n1,2\n", "two columns"),
        ("a,b\n", "no rows"),
        ("", "no rows"),
        ("a,b\n1,\u{fffd}", ""),
    ] {
        match Table::parse(csv.as_bytes(), "bad.csv") {
            Err(error) => {
                assert!(error.to_string().contains(says) && error.to_string().contains("bad.csv"), "{error}")
            }
            Ok(table) => assert!(says.is_empty() && table.rows() == 1, "{csv:?} was read"),
        }
    }
    assert!(Table::parse(b"a\n\xff\xfe\n", "bad.csv").is_err(), "not UTF-8");
    assert!(Table::read_csv("no/such/file.csv").is_err());
    let table = Table::parse(b"a,t\n1,x\n2,\n", "gap.csv").expect("a missing target is found later");
    let error = table.labels("t").expect_err("a target is missing");
    assert!(error.to_string().contains("line 3"), "{error}");
    let error = table.take(&[0]).and_then(|table| table.targets("t")).expect_err("text is no number");
    assert!(error.to_string().contains("line 2") && error.to_string().contains("\"x\""), "{error}");
    assert!(table.column("u").expect_err("no such column").to_string().contains("a, t"));
    assert!(table.drop(&["u"]).is_err() && table.take(&[2]).is_err());
}

#[test]
fn a_table_is_learned_from_saved_and_used() -> Result<()> {
    // The price follows from the size, the town and a letter of which there are more than 30.
    let letters: Vec<String> = (0..40).map(|code| format!("k{code}")).collect();
    let mut csv = "size,town,letter,empty,price\n".to_owned();
    for row in 0..400_usize {
        let (size, town, letter) = ((row * 7 % 50) as f64, ["A", "B", "C"][row % 3], row * 13 % 40);
        let price = 2.0 * size + [0.0, 30.0, -10.0][row % 3] + letter as f64;
        let size = if row % 11 == 0 { String::new() } else { size.to_string() };
        csv += &format!("{size},{town},{},,{price}\n", letters[letter]);
    }
    let table = Table::parse(csv.as_bytes(), "prices.csv")?;
    let ridge = Estimator::by_name("ridge", false, json!({"alpha": 0.01}))?;
    let model = TableModel::fit(&table, "price", &ridge)?;
    let truth = table.targets("price")?;
    let TablePredictions::Numbers(predicted) = model.predict(&table)? else { panic!("prices are numbers") };
    let r2 = kiln::classical::metrics::r2_score(&truth, &predicted)?;
    assert!(r2 > 0.85, "R2 {r2}; without sizes that are missing it would be near 1");

    let folder = std::env::temp_dir().join(format!("kiln-table-{}", std::process::id()));
    std::fs::create_dir_all(&folder).expect("a temporary folder");
    model.save(&folder.join("model.kiln"))?;
    let read = TableModel::load(&folder.join("model.kiln"))?;
    assert_eq!(read.predict(&table)?, TablePredictions::Numbers(predicted));
    std::fs::remove_dir_all(&folder).expect("the folder is there");
    let new = Table::parse(b"town,letter,size,empty,price\nB,unheard,10,5,99\n", "new.csv")?;
    assert!(matches!(read.predict(&new)?, TablePredictions::Numbers(prices) if prices[0].is_finite()));

    let dummy = Estimator::by_name("dummy", true, json!({}))?;
    let model = TableModel::fit(&table, "town", &dummy)?;
    let TablePredictions::Classes(names, shares) = model.predict(&new)? else { panic!("towns are classes") };
    assert_eq!((names, shares.map(|shares| shares[[0, 0]])), (vec!["A".to_owned()], Some(134.0 / 400.0)));
    assert!(Estimator::by_name("lasso", true, json!({})).is_err(), "lasso is no classifier");
    Ok(())
}
