-- What a new, empty volume is filled with: the schema as it was when the project began, one expert and 27 nodes.
-- This is why an empty database looks alive. The columns that were added since (see grown.sql) are missing here.
CREATE TABLE domains (
    id          integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name        text NOT NULL UNIQUE,
    description text,
    created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE experts (
    id            integer GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    name          text NOT NULL UNIQUE,
    role          text NOT NULL,
    system_prompt text NOT NULL,
    domain_id     integer NOT NULL REFERENCES domains,
    metadata      jsonb NOT NULL DEFAULT '{}',
    created_at    timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE knowledge_nodes (
    id               bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY,
    domain_id        integer NOT NULL REFERENCES domains,
    expert_id        integer REFERENCES experts ON DELETE SET NULL,
    content          text NOT NULL,
    metadata         jsonb NOT NULL DEFAULT '{}',
    confidence_score real NOT NULL DEFAULT 0.5 CHECK (confidence_score BETWEEN 0 AND 1),
    is_verified      boolean NOT NULL DEFAULT false,
    created_at       timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX knowledge_nodes_domain ON knowledge_nodes (domain_id);
CREATE INDEX knowledge_nodes_created ON knowledge_nodes (created_at DESC);

INSERT INTO domains (name, description) VALUES ('General', 'Where a new installation begins');
INSERT INTO experts (name, role, system_prompt, domain_id)
    VALUES ('Victoria', 'Team lead', 'You plan the work and hand it to whoever knows best.', 1);
INSERT INTO knowledge_nodes (domain_id, expert_id, content)
    SELECT 1, 1, 'Getting started, part ' || n FROM generate_series(1, 27) AS n;
