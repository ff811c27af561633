-- A conversation's counter gives numbers in order; its row lock is held until the message is durable.
CREATE TABLE conversations (
    id bigint PRIMARY KEY,
    seq bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
-- How far each conversation's receiver got.
CREATE TABLE deliveries (
    conversation bigint PRIMARY KEY,
    upto bigint NOT NULL DEFAULT 0
) WITH (fillfactor = 50);
CREATE TABLE messages (
    conversation bigint NOT NULL,
    seq bigint NOT NULL,
    body bytea NOT NULL,
    PRIMARY KEY (conversation, seq)
);
-- As it is, without compression: real messages do not compress like a pattern.
ALTER TABLE messages ALTER body SET STORAGE EXTERNAL;
-- Numbers and stores a message; its number. NOTIFY is not in it: it takes a lock of the whole database until the transaction is on the
-- disk, and with it no two messages could be in one write.
CREATE FUNCTION send(to_conversation bigint, with_body bytea) RETURNS bigint LANGUAGE plpgsql AS $$
DECLARE
    given bigint;
BEGIN
    UPDATE conversations SET seq = seq + 1 WHERE id = to_conversation RETURNING seq INTO given;
    INSERT INTO messages VALUES (to_conversation, given, with_body);
    RETURN given;
END $$;
