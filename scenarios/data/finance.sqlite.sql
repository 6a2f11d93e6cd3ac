-- The scenarios' world on SQLite: the same rows as finance.sql, but for what SQLite cannot keep apart (invoices per tenant).
BEGIN;
CREATE TABLE companies (id int PRIMARY KEY, name text NOT NULL, symbol text NOT NULL UNIQUE, sector text NOT NULL, country text NOT NULL, employees int NOT NULL);
WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 40)
INSERT INTO companies SELECT i, 'Company ' || i, printf('C%03d', i), CASE i % 5 WHEN 0 THEN 'Technology' WHEN 1 THEN 'Energy' WHEN 2 THEN 'Health' WHEN 3 THEN 'Retail' ELSE 'Finance' END, CASE i % 4 WHEN 0 THEN 'DE' WHEN 1 THEN 'US' WHEN 2 THEN 'JP' ELSE 'FR' END, 500 + i * 37 FROM n;
CREATE TABLE financial_records (id integer PRIMARY KEY, company_id int NOT NULL REFERENCES companies, year int NOT NULL, quarter text NOT NULL, revenue bigint NOT NULL, profit bigint NOT NULL, UNIQUE (company_id, year, quarter));
WITH RECURSIVE c(c) AS (SELECT 1 UNION ALL SELECT c + 1 FROM c WHERE c < 40), y(y) AS (SELECT 2019 UNION ALL SELECT y + 1 FROM y WHERE y < 2025), q(q) AS (SELECT 1 UNION ALL SELECT q + 1 FROM q WHERE q < 4)
INSERT INTO financial_records SELECT row_number() OVER (ORDER BY c, y, q), c, y, 'Q' || q, c * 1000000 + (y - 2019) * 50000 + q * 12500, c * 100000 + (y - 2019) * 4000 + q * 900 - 50000 FROM c, y, q;
CREATE TABLE stock_prices (company_id int NOT NULL REFERENCES companies, day text NOT NULL, close real NOT NULL, volume bigint NOT NULL, PRIMARY KEY (company_id, day));
WITH RECURSIVE c(c) AS (SELECT 1 UNION ALL SELECT c + 1 FROM c WHERE c < 40), n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < 89)
INSERT INTO stock_prices SELECT c, date('2025-01-01', '+' || i || ' days'), 100 + c + (i * 7 % 13) * 0.25, 10000 * c + i FROM c, n;
CREATE VIEW annual_results AS SELECT company_id, year, sum(revenue) AS revenue, sum(profit) AS profit FROM financial_records GROUP BY company_id, year;
COMMIT;
