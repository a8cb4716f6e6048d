-- A year of use, the same on every run: two migrations, then 12 domains, 85 experts and 26,337 knowledge nodes.
BEGIN;
ALTER TABLE experts ADD COLUMN usage_count integer NOT NULL DEFAULT 0, ADD COLUMN last_used_at timestamptz;
ALTER TABLE knowledge_nodes ADD COLUMN embedding real[], ADD COLUMN usage_count integer NOT NULL DEFAULT 0;
CREATE INDEX knowledge_nodes_metadata ON knowledge_nodes USING gin (metadata jsonb_path_ops);

INSERT INTO domains (name, description, created_at)
    SELECT name, 'Everything about ' || lower(name), timestamptz '2025-02-01 09:00+00' + place * interval '9 days'
    FROM unnest(ARRAY['Databases', 'Networks', 'Security', 'Front end', 'Back end', 'Machine learning', 'Operations',
                      'Law', 'Finance', 'Marketing', 'Design']) WITH ORDINALITY AS given (name, place);

INSERT INTO experts (name, role, system_prompt, domain_id, metadata, created_at, usage_count, last_used_at)
    SELECT format('Expert %s', lpad(n::text, 2, '0')),
           (ARRAY['Analyst', 'Engineer', 'Reviewer', 'Researcher', 'Writer'])[1 + n % 5],
           'You answer from what the knowledge base holds, and say so where it holds nothing. '
               || repeat(md5(n::text) || ' ', 12),
           1 + n % 12,
           jsonb_build_object('languages', jsonb_build_array('en', 'ru'), 'temperature', round((n % 10) / 10.0, 1)),
           timestamptz '2025-02-03 08:00+00' + n * interval '3 days 5 hours',
           n * 37 % 911,
           timestamptz '2026-01-31 20:00+00' - n * interval '47 minutes'
    FROM generate_series(2, 85) AS n;

INSERT INTO knowledge_nodes (domain_id, expert_id, content, metadata, confidence_score, is_verified, created_at,
                             embedding, usage_count)
    SELECT 1 + n % 12, 1 + n % 85,
           format('Note %s. ', n) || repeat(md5(n::text) || ' ', 3 + n % 9),
           jsonb_build_object('source', (ARRAY['chat', 'document', 'web', 'review'])[1 + n % 4], 'tokens', 40 + n % 400),
           round((0.4 + (n % 60) / 100.0)::numeric, 2), n % 3 = 0,
           timestamptz '2025-02-03 08:00+00' + n * interval '20 minutes',
           ARRAY(SELECT sin(n * 0.37 + place)::real FROM generate_series(1, 32) AS place),
           n % 23
    FROM generate_series(28, 26337) AS n;
COMMIT;
ANALYZE;
