//! The words the demo's people and places are made of. All of it is invented.

/// A town with its country and zone.
#[derive(Debug, PartialEq, Eq)]
pub struct Town {
    pub name: &'static str,
    pub country: &'static str,
    pub zone: &'static str,
    pub language: &'static str,
}

const fn town(name: &'static str, country: &'static str, zone: &'static str, language: &'static str) -> Town {
    Town { name, country, zone, language }
}

pub const TOWNS: [Town; 18] = [
    town("Vienna", "AT", "Europe/Vienna", "de"),
    town("Graz", "AT", "Europe/Vienna", "de"),
    town("Linz", "AT", "Europe/Vienna", "de"),
    town("Salzburg", "AT", "Europe/Vienna", "de"),
    town("Innsbruck", "AT", "Europe/Vienna", "de"),
    town("Munich", "DE", "Europe/Berlin", "de"),
    town("Leipzig", "DE", "Europe/Berlin", "de"),
    town("Hamburg", "DE", "Europe/Berlin", "de"),
    town("Freiburg", "DE", "Europe/Berlin", "de"),
    town("Zurich", "CH", "Europe/Zurich", "de"),
    town("Basel", "CH", "Europe/Zurich", "de"),
    town("Bern", "CH", "Europe/Zurich", "de"),
    town("Oslo", "NO", "Europe/Oslo", "nb"),
    town("Bergen", "NO", "Europe/Oslo", "nb"),
    town("Trento", "IT", "Europe/Rome", "it"),
    town("Trieste", "IT", "Europe/Rome", "it"),
    town("Lisbon", "PT", "Europe/Lisbon", "pt"),
    town("Porto", "PT", "Europe/Lisbon", "pt"),
];

pub const FIRST_NAMES: [&str; 40] = [
    "Anna", "Lukas", "Maria", "Jonas", "Sophie", "Felix", "Laura", "Paul", "Lena", "David", "Julia", "Simon", "Eva",
    "Tobias", "Clara", "Moritz", "Ines", "Ole", "Ingrid", "Lars", "Giulia", "Marco", "Rita", "Tiago", "Nora", "Emil",
    "Hanna", "Matteo", "Vera", "Jakob", "Selma", "Anton", "Miriam", "Oskar", "Petra", "Leo", "Sara", "Hugo", "Irene",
    "Karl",
];

pub const LAST_NAMES: [&str; 40] = [
    "Lindner", "Gruber", "Hofer", "Steiner", "Moser", "Berger", "Fuchs", "Eder", "Wagner", "Schmid", "Keller",
    "Brunner", "Baumann", "Frei", "Huber", "Winkler", "Vogel", "Krause", "Lorenz", "Albrecht", "Hansen", "Dahl",
    "Solberg", "Rossi", "Conti", "Ferrari", "Sousa", "Pinto", "Novak", "Horvat", "Kovac", "Weiss", "Brandt", "Thaler",
    "Auer", "Egger", "Pichler", "Seidl", "Zimmer", "Reiter",
];

pub const CAFES: [&str; 12] = [
    "Café {}",
    "Kaffeehaus {}",
    "Espressobar {}",
    "{} & Co. Café",
    "Café am Markt {}",
    "Rösthaus {}",
    "Bar {}",
    "Café Zum {}",
    "{}s Kaffeestube",
    "Kiosk {}",
    "Café Bücherei {}",
    "Tagesbar {}",
];

pub const BAKERIES: [&str; 4] = ["Bäckerei {}", "{} Brot & Kaffee", "Konditorei {}", "Backstube {}"];

pub const HOTELS: [&str; 4] = ["Hotel {}", "Pension {}", "Gasthof {}", "Berghotel {}"];

pub const OFFICES: [&str; 5] = ["{} Architekten", "{} & Partner", "Kanzlei {}", "{} Software", "Studio {}"];

pub const PROBLEMS: [&str; 8] = [
    "Grinder makes a loud noise",
    "Delivery came a day late",
    "Steam wand leaks",
    "Two bags missing in the box",
    "Invoice shows the wrong address",
    "Machine doesn't heat up",
    "Beans taste burnt this time",
    "Can't log in to the order page",
];

pub const ANGRY: [&str; 6] = [
    "Third late delivery in a row. We stood there without coffee on a Saturday.",
    "Nobody answers the service phone.",
    "The machine broke twice in a month and the loan machine never came.",
    "Prices went up and nobody told us.",
    "The last two batches were burnt.",
    "I've been promised a call back three times.",
];

pub const UNHAPPY: [&str; 6] = [
    "Coffee is fine, the order page is not.",
    "Delivery times have become a lottery.",
    "I miss the old Friday blend.",
    "Support is friendly but slow.",
    "Good beans, too much packaging.",
    "A bit expensive for what it is by now.",
];

pub const CONTENT: [&str; 4] = ["Solid.", "Does what it should.", "No complaints.", "Good coffee, fair price."];

pub const DELIGHTED: [&str; 5] = [
    "Our guests ask where the coffee is from!",
    "Best roast in years.",
    "The barista training was worth every cent.",
    "Always a human on the phone. Rare.",
    "Wouldn't know whom else to order from.",
];
