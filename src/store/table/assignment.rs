//! `rotation` and `assignment`: whose turn it is, and whose it was.

use crate::engine::port::{StoreError, Turn};
use crate::store::sql::{Session, params};
use std::collections::HashMap;

/// The rotation's row is locked by its update until the commit, so no two turns are the same.
pub async fn next(session: &mut Session<'_>, turn: &Turn) -> Result<Option<String>, StoreError> {
    let given = session.row("SELECT member FROM assignment WHERE delivery = $1", params![&turn.delivery.0]).await?;
    if let Some(mut row) = given {
        return row.text(0).map(Some);
    }
    let sql = "INSERT INTO rotation (name, turn) VALUES ($1, 1)
               ON CONFLICT (name) DO UPDATE SET turn = rotation.turn + 1";
    session.run(sql, params![turn.rotation.as_str()]).await?;
    let count = session.row("SELECT turn FROM rotation WHERE name = $1", params![turn.rotation.as_str()]).await?;
    let count = count.map_or(Ok(1), |row| row.count(0))?;
    let loads = if turn.least_loaded { loads(session, &turn.rotation).await? } else { HashMap::new() };
    let Some(member) = choose(turn, count, &loads) else { return Ok(None) };
    let sql = "INSERT INTO assignment (delivery, enrollment, rotation, member) VALUES ($1, $2, $3, $4)";
    session.run(sql, params![&turn.delivery.0, turn.enrollment, turn.rotation.as_str(), member.as_str()]).await?;
    Ok(Some(member))
}

/// How many records each has whose sequence is not over.
async fn loads(session: &mut Session<'_>, rotation: &str) -> Result<HashMap<String, u64>, StoreError> {
    let sql = "SELECT a.member, COUNT(*) FROM assignment a JOIN enrollment e ON e.id = a.enrollment
               WHERE a.rotation = $1 AND e.state IN (0, 1) GROUP BY a.member";
    let rows = session.rows(sql, params![rotation]).await?;
    rows.into_iter().map(|mut row| Ok((row.text(0)?, row.count(1)?))).collect()
}

/// From the one whose turn it is on: the first with the least.
fn choose(turn: &Turn, count: u64, loads: &HashMap<String, u64>) -> Option<String> {
    let members = turn.members.len();
    let first = (count.saturating_sub(1) % (members.max(1) as u64)) as usize;
    let order = (0..members).filter_map(|step| turn.members.get((first + step) % members));
    order.min_by_key(|member| loads.get(*member).copied().unwrap_or(0)).cloned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::DeliveryId;

    fn turn(members: &[&str]) -> Turn {
        Turn {
            delivery: DeliveryId([1; 16]),
            enrollment: 1,
            rotation: "r".into(),
            members: members.iter().map(|member| (*member).to_owned()).collect(),
            least_loaded: true,
        }
    }

    #[test]
    fn turns_go_round_and_a_tie_goes_to_whose_turn_it_is() {
        let turn = turn(&["a", "b", "c"]);
        let none = HashMap::new();
        let turns: Vec<_> = (1..5).filter_map(|count| choose(&turn, count, &none)).collect();
        assert_eq!(turns, ["a", "b", "c", "a"]);
        let loads = HashMap::from([("a".to_owned(), 2), ("b".to_owned(), 1), ("c".to_owned(), 1)]);
        assert_eq!(choose(&turn, 1, &loads).as_deref(), Some("b"));
        assert_eq!(choose(&turn, 3, &loads).as_deref(), Some("c"));
        assert_eq!(choose(&self::turn(&[]), 1, &none), None);
    }
}
