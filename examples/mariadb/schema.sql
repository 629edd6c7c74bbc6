-- A small CRM as one finds it in MariaDB or MySQL: naive datetimes, placeholder dates, awkward names.
CREATE TABLE staff (
    id    int PRIMARY KEY,
    fname varchar(60) NOT NULL,
    lname varchar(60) NOT NULL,
    mail  varchar(120) NOT NULL
) DEFAULT CHARSET utf8mb4;

CREATE TABLE accounts (
    id         int PRIMARY KEY,
    name       varchar(120) NOT NULL,
    country    char(2) NOT NULL,
    grade      char(1) NOT NULL,
    state      char(1) NOT NULL,               -- A active, I inactive
    is_sample  tinyint(1) NOT NULL DEFAULT 0,
    manager_id int NULL,
    created_at datetime NOT NULL               -- wall time of Vienna, as all datetimes here
) DEFAULT CHARSET utf8mb4;

CREATE TABLE contacts (
    id         int PRIMARY KEY,
    account_id int NOT NULL,
    fname      varchar(60) NULL,
    lname      varchar(60) NULL,
    email      varchar(120) NOT NULL DEFAULT '',   -- '' where we have none
    is_primary tinyint(1) NOT NULL DEFAULT 0,
    tz         varchar(40) NULL,
    newsletter tinyint(1) NULL,
    KEY (account_id)
) DEFAULT CHARSET utf8mb4;

CREATE TABLE `order` (
    id         int AUTO_INCREMENT PRIMARY KEY,
    account_id int NOT NULL,
    placed_at  datetime NOT NULL,
    status     varchar(20) NOT NULL,
    amount     decimal(12, 2) NOT NULL,
    KEY (placed_at),
    KEY (account_id, placed_at)
) DEFAULT CHARSET utf8mb4;

CREATE TABLE `service-plans` (
    id         int PRIMARY KEY,
    account_id int NOT NULL,
    contact_id int NOT NULL,
    plan       varchar(40) NOT NULL,
    status     varchar(20) NOT NULL,
    auto_renew tinyint(1) NOT NULL,
    ends_on    date NOT NULL DEFAULT '1900-01-01',  -- 1900-01-01: open-ended
    KEY (ends_on)
) DEFAULT CHARSET utf8mb4;

CREATE TABLE surveys (
    id          int AUTO_INCREMENT PRIMARY KEY,
    account_id  int NOT NULL,
    kind        varchar(10) NOT NULL,
    rating      tinyint NULL,
    comment     text NULL,
    answered_at datetime NULL,
    follow_up   varchar(10) NULL,               -- done, once somebody has talked to them
    KEY (answered_at),
    KEY (account_id)
) DEFAULT CHARSET utf8mb4;

CREATE TABLE quotes (
    id         int AUTO_INCREMENT PRIMARY KEY,
    account_id int NOT NULL,
    number     varchar(20) NOT NULL,
    state      varchar(20) NOT NULL,
    changed_at datetime NOT NULL,
    KEY (changed_at),
    KEY (account_id)
) DEFAULT CHARSET utf8mb4;

CREATE TABLE carts (
    id         int AUTO_INCREMENT PRIMARY KEY,
    account_id int NOT NULL,
    token      varchar(40) NOT NULL,
    state      varchar(20) NOT NULL,               -- open, ordered or emptied
    holds      varchar(250) NOT NULL,
    amount     decimal(12, 2) NOT NULL,
    changed_at datetime NOT NULL,
    KEY (changed_at),
    KEY (account_id)
) DEFAULT CHARSET utf8mb4;

CREATE TABLE tickets (
    id         int AUTO_INCREMENT PRIMARY KEY,
    account_id int NOT NULL,
    subject    varchar(200) NOT NULL,
    status     varchar(20) NOT NULL,
    opened_at  datetime NOT NULL,
    KEY (account_id)
) DEFAULT CHARSET utf8mb4;

CREATE TABLE tasks (
    id         char(36) PRIMARY KEY,
    account_id int NOT NULL,
    staff_id   int NULL,
    title      varchar(250) NOT NULL,
    due_date   date NULL,
    status     varchar(20) NOT NULL,
    created_at datetime NOT NULL,
    ref        varchar(64) NULL UNIQUE,
    KEY (account_id)
) DEFAULT CHARSET utf8mb4;

CREATE TABLE blocked (address varchar(120) NOT NULL, reason varchar(80) NOT NULL) DEFAULT CHARSET utf8mb4;

INSERT INTO staff VALUES
    (1, 'Jana', 'Wolf', 'jana@acme.example'),
    (2, 'Pavel', 'Horak', 'pavel@acme.example');

INSERT INTO accounts VALUES
    (1, 'Lindner Papier',       'AT', 'B', 'A', 0, 1,    '2023-04-11 09:00:00'),
    (2, 'Alpina Hotels',        'CH', 'A', 'A', 0, 1,    '2021-01-20 09:00:00'),
    (3, 'Moser Backwaren',      'AT', 'B', 'A', 0, 2,    '2022-06-02 09:00:00'),
    (4, 'Rossi Forniture',      'IT', 'B', 'A', 0, 2,    '2022-02-14 09:00:00'),
    (5, 'Studio Keller',        'DE', 'C', 'A', 0, NULL, '2024-09-30 09:00:00'),
    (6, 'Pension Vogel',        'DE', 'B', 'A', 0, 2,    '2020-03-03 09:00:00'),
    (7, 'Closed Long Ago',      'AT', 'B', 'I', 0, 1,    '2019-03-03 09:00:00'),
    (8, 'Our Own Test Company', 'AT', 'A', 'A', 1, 1,    '2019-03-03 09:00:00');

INSERT INTO contacts VALUES
    (11, 1, 'Maria', 'Lindner', 'maria@lindner.example', 1, 'Europe/Vienna', 1),
    (12, 1, 'Otto',  'Lindner', 'otto@lindner.example',  0, 'Europe/Vienna', 1),
    (21, 2, 'Reto',  'Frei',    'reto@alpina.example',   1, 'Europe/Zurich', 1),
    (31, 3, 'Eva',   'Moser',   'eva@moser.example',     1, NULL, 1),
    (41, 4, 'Marco', 'Rossi',   'marco@rossi.example',   1, 'Europe/Rome', 1),
    (51, 5, 'Nora',  'Keller',  'nora@keller.example',   1, 'Europe/Berlin', 1),
    (61, 6, 'Hugo',  'Vogel',   '',                      1, 'Europe/Berlin', NULL),
    (62, 6, 'Irene', 'Vogel',   'irene@vogel.example',   0, 'Europe/Berlin', NULL),
    (71, 7, 'Karl',  'Alt',     'karl@closed.example',   1, NULL, 1),
    (81, 8, 'Test',  'Test',    'test@acme.example',     1, NULL, 1);

-- Ninety days before 21 November 2026, 08:30 in Vienna, is 23 August, 09:30 (summer time).
INSERT INTO `order` (account_id, placed_at, status, amount) VALUES
    (1, '2026-05-04 10:00:00', 'paid',      410.00),
    (1, '2026-08-23 09:30:00', 'shipped',   320.50),
    (2, '2026-08-23 09:40:00', 'paid',     8200.00),
    (3, '2026-08-23 09:50:00', 'paid',      900.00),
    (4, '2026-08-23 09:55:00', 'paid',      900.00),
    (5, '2026-11-02 15:00:00', 'paid',      640.00),
    (6, '2026-08-23 10:05:00', 'paid',      777.00),
    (6, '2026-10-01 10:00:00', 'cancelled', 500.00),   -- keeps its date and does not count
    (7, '2026-08-23 10:10:00', 'paid',      900.00),
    (8, '2026-08-23 10:15:00', 'paid',      900.00);

INSERT INTO tickets (account_id, subject, status, opened_at) VALUES
    (3, 'Two boxes missing', 'open', '2026-11-10 14:00:00');

INSERT INTO surveys (account_id, kind, rating, comment, answered_at) VALUES
    (5, 'nps',  2,    'Nobody answers the phone.', '2026-11-21 08:05:00'),
    (1, 'nps',  9,    NULL,                        '2026-11-21 08:10:00'),
    (1, 'csat', 1,    NULL,                        '2026-11-21 08:15:00'),
    (2, 'nps',  NULL, NULL,                        NULL);

-- Three days before 21 November, 09:00 in Vienna.
INSERT INTO quotes (account_id, number, state, changed_at) VALUES
    (3, 'Q-2201', 'sent',     '2026-11-18 09:00:00'),
    (4, 'Q-2202', 'accepted', '2026-11-18 09:00:00'),
    (4, 'Q-2203', 'sent',     '2026-11-20 17:00:00');

-- Three hours before 21 November, 09:30 in Vienna; Moser went on to order, Vogel never agreed to mails.
INSERT INTO carts (account_id, token, state, holds, amount, changed_at) VALUES
    (5, 'k7Tq', 'open',    'Desk lamp, 2 shelves', 214.50, '2026-11-21 06:30:00'),
    (3, 'm2Wd', 'ordered', '40 baking trays',      612.00, '2026-11-21 06:35:00'),
    (6, 'p9Xr', 'open',    '12 breakfast sets',    388.00, '2026-11-21 06:40:00');

INSERT INTO `service-plans` VALUES
    (101, 1, 11, 'Basic',    'active', 0, '2026-12-21'),
    (102, 2, 21, 'Complete', 'active', 0, '2026-11-28'),
    (103, 5, 51, 'Comfort',  'active', 1, '2026-12-21'),
    (104, 6, 62, 'Comfort',  'active', 0, '1900-01-01');
