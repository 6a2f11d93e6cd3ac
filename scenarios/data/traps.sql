-- What a hunt adds to the finance data: things that a statement must not reach, each with a canary or an effect that shows.
-- Run by the owner of a throw-away database. Texts that nobody may read begin with CANARY.
UPDATE secrets SET secret = 'CANARY-SECRET';
CREATE TABLE vault (id int PRIMARY KEY, memo text NOT NULL);
INSERT INTO vault VALUES (1, 'CANARY-VAULT');
CREATE TABLE traces (id bigserial PRIMARY KEY, what text NOT NULL);
CREATE SEQUENCE tickets;
SELECT lo_from_bytea(424242, 'CANARY-LARGE-OBJECT');
CREATE SCHEMA app;
CREATE FUNCTION app.touch(what text DEFAULT 'x') RETURNS int LANGUAGE plpgsql AS $$ BEGIN INSERT INTO public.traces (what) VALUES (what); RETURN 1; END $$;
CREATE FUNCTION app.reveal() RETURNS text LANGUAGE sql SECURITY DEFINER AS $$ SELECT memo FROM public.vault $$;
CREATE FUNCTION app.add_noisily(state int, value int) RETURNS int LANGUAGE plpgsql AS $$ BEGIN PERFORM app.touch('aggregate'); RETURN coalesce(state, 0) + coalesce(value, 0); END $$;
CREATE AGGREGATE app.noisy_sum(int) (SFUNC = app.add_noisily, STYPE = int);
CREATE FUNCTION app.equal_noisily(a int, b int) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM app.touch('operator'); RETURN a = b; END $$;
CREATE OPERATOR public.=== (LEFTARG = int, RIGHTARG = int, FUNCTION = app.equal_noisily);
CREATE FUNCTION app.check_noisily(value text) RETURNS boolean LANGUAGE plpgsql AS $$ BEGIN PERFORM app.touch('domain'); RETURN true; END $$;
CREATE DOMAIN public.noisy_text AS text CHECK (app.check_noisily(VALUE));
-- Called as `c.label` where `c` is a row of companies.
CREATE FUNCTION public.label(c companies) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM app.touch('attribute'); RETURN c.name; END $$;
-- Stands before the function of Postgres for every varchar.
CREATE FUNCTION public.upper(t varchar) RETURNS text LANGUAGE plpgsql AS $$ BEGIN PERFORM app.touch('shadow'); RETURN pg_catalog.upper(t::text); END $$;
CREATE VIEW public.noisy_view AS SELECT id, app.touch('view') AS n FROM companies;
CREATE VIEW public.open_view AS SELECT memo FROM vault;
CREATE PROCEDURE app.wipe() LANGUAGE sql AS $$ DELETE FROM public.stock_prices $$;
COMMENT ON TABLE vault IS 'CANARY-COMMENT';
COPY (SELECT 'CANARY-FILE') TO '/tmp/@FILE@';
DO $$ BEGIN EXECUTE format('ALTER DATABASE %I SET fact.hidden = %L', current_database(), 'CANARY-SETTING'); END $$;
ANALYZE;
