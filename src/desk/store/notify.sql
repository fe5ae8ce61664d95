-- Places that are told that a candidate waits, one row each.
CREATE TABLE notification (
    destination TEXT PRIMARY KEY NOT NULL,
    -- Candidates that no notification has told of.
    unsaid INTEGER NOT NULL DEFAULT 0,
    -- The notification that is open: it is kept before it is sent, and sent again under this id.
    id BLOB,
    opened INTEGER,
    tries INTEGER NOT NULL DEFAULT 0,
    due INTEGER,
    -- When the last one ended.
    ended INTEGER,
    -- How many ended how, and how many attempts failed.
    delivered INTEGER NOT NULL DEFAULT 0,
    given_up INTEGER NOT NULL DEFAULT 0,
    overtaken INTEGER NOT NULL DEFAULT 0,
    failed INTEGER NOT NULL DEFAULT 0
) WITHOUT ROWID;

-- In the transaction that stores the candidate, so that no kill comes between the two. An update of
-- a candidate is none.
CREATE TRIGGER notification_owed AFTER INSERT ON candidate WHEN NEW.ended IS NULL
BEGIN
    UPDATE notification SET unsaid = unsaid + 1;
END;
