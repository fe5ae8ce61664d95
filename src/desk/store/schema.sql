-- Times are milliseconds since 1970, UTC; ids are 16 bytes.

-- Events, each once by its id. `payload` is as it was published, until it is erased.
CREATE TABLE event (
    id BLOB PRIMARY KEY NOT NULL,
    device TEXT NOT NULL,
    kind TEXT NOT NULL,
    candidate BLOB,
    received INTEGER NOT NULL,
    digest BLOB NOT NULL,
    signature TEXT,
    payload BLOB
);
CREATE INDEX event_of_candidate ON event (candidate, received) WHERE candidate IS NOT NULL;

-- What devices said last.
CREATE TABLE said (
    device TEXT NOT NULL,
    what TEXT NOT NULL,
    received INTEGER NOT NULL,
    payload BLOB NOT NULL,
    PRIMARY KEY (device, what)
) WITHOUT ROWID;

CREATE TABLE candidate (
    id BLOB PRIMARY KEY NOT NULL,
    device TEXT NOT NULL,
    camera TEXT NOT NULL,
    place TEXT,
    list TEXT NOT NULL,
    version INTEGER NOT NULL,
    entry TEXT NOT NULL,
    decided INTEGER NOT NULL,
    -- The event with the best evidence.
    newest BLOB NOT NULL,
    sequence INTEGER NOT NULL,
    -- With which others it is one line of the queue.
    burst INTEGER,
    stage TEXT NOT NULL,
    until INTEGER,
    ended INTEGER,
    -- From then on its pictures are erased, and when they were.
    erase_at INTEGER NOT NULL,
    erased INTEGER
);
-- With columns that are all alike, so that rows are counted without being read.
CREATE INDEX candidate_alone ON candidate (decided, ended, burst)
    WHERE ended IS NULL AND burst IS NULL;
CREATE INDEX candidate_alike ON candidate (device, list, entry, decided)
    WHERE ended IS NULL AND burst IS NULL;
CREATE INDEX candidate_of_burst ON candidate (burst, decided, ended, id)
    WHERE ended IS NULL AND burst IS NOT NULL;
CREATE INDEX candidate_to_erase ON candidate (erase_at) WHERE erased IS NULL;
CREATE INDEX candidate_of_entry ON candidate (list, entry);
CREATE INDEX candidate_stage ON candidate (stage);

-- Candidates of one entry by one device within one hour since 1970, of which more waited at a time
-- than are shown one by one.
CREATE TABLE burst (
    id INTEGER PRIMARY KEY NOT NULL,
    device TEXT NOT NULL,
    list TEXT NOT NULL,
    entry TEXT NOT NULL,
    hour INTEGER NOT NULL,
    UNIQUE (device, list, entry, hour)
);
CREATE INDEX burst_hour ON burst (hour);

-- Sealed verdicts: nobody here can read one.
CREATE TABLE verdict (
    candidate BLOB NOT NULL,
    reviewer BLOB NOT NULL,
    device TEXT NOT NULL,
    given INTEGER NOT NULL,
    envelope BLOB,
    digest BLOB NOT NULL,
    -- counted, refused, or over; absent until the device has answered.
    answer TEXT,
    why TEXT,
    answered INTEGER,
    PRIMARY KEY (candidate, reviewer)
) WITHOUT ROWID;
CREATE INDEX verdict_due ON verdict (given) WHERE answer IS NULL;

-- Events of candidates and of their reviews whose receipt the broker has not taken.
CREATE TABLE receipt_due (
    event BLOB PRIMARY KEY NOT NULL,
    device TEXT NOT NULL,
    digest BLOB NOT NULL
) WITHOUT ROWID;

-- Lists and entries that were revoked; `entry` is empty for a whole list.
CREATE TABLE withdrawal (
    list TEXT NOT NULL,
    entry TEXT NOT NULL,
    through INTEGER NOT NULL,
    PRIMARY KEY (list, entry)
) WITHOUT ROWID;

-- Reference photographs, sealed as they came.
CREATE TABLE photograph (
    list TEXT NOT NULL,
    version INTEGER NOT NULL,
    entry TEXT NOT NULL,
    n INTEGER NOT NULL,
    digest BLOB NOT NULL,
    -- Where the eyes are, `x,y,x,y` in px; absent where nobody knows.
    eyes TEXT,
    sealed BLOB NOT NULL,
    -- From then on it is wiped.
    until INTEGER NOT NULL,
    PRIMARY KEY (list, version, entry, n)
);

CREATE TABLE person (
    id BLOB PRIMARY KEY NOT NULL,
    key TEXT NOT NULL,
    reading_key TEXT NOT NULL,
    label TEXT NOT NULL,
    enrolled INTEGER NOT NULL
);

CREATE TABLE invitation (
    token_digest BLOB PRIMARY KEY NOT NULL,
    label TEXT NOT NULL,
    until INTEGER NOT NULL
) WITHOUT ROWID;

-- Who did or saw what.
CREATE TABLE access (
    at INTEGER NOT NULL,
    who BLOB NOT NULL,
    what TEXT NOT NULL,
    candidate BLOB,
    detail TEXT
);
CREATE INDEX access_at ON access (at);

-- What was not stored, by reason.
CREATE TABLE set_aside (
    reason TEXT PRIMARY KEY NOT NULL,
    count INTEGER NOT NULL
) WITHOUT ROWID;
