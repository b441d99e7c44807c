-- Public names (tables and views that users may query) are those of docs/data-model.md; all others are private.
-- Times are integer microseconds since 1970 UTC; lists are JSON text. Only what SQLite and PostgreSQL share is used.

create table connections (
    id integer primary key,
    name text not null unique,
    connector text not null,
    created_at bigint not null,
    -- What the last run was configured with: when it widens what is stored, the next passes are full ones.
    settings text not null default '',
    minimum_severity integer not null default 0,
    import_closed integer not null default 0,
    discovered_at bigint,
    -- Since when its schedule rests, because somebody said so.
    paused_at bigint,
    -- Since when its credential is refused (null after a person asked for another try), a mark to see whether it is another
    -- one now, and when it was refused the last three times.
    refused_at bigint,
    credential_fingerprint text,
    refused_times text not null default '[]',
    -- When its credential ends, as the vendor says.
    expires_at bigint
);

-- One row per connection: who runs an operation on it. Every commit carries the fence.
create table leases (
    connection_id integer primary key references connections (id),
    owner text not null,
    held_until bigint not null,
    fence bigint not null,
    -- Until when the operation waits for its vendor's quota.
    waiting_until bigint
);

-- When what is due, and the schedule that the time follows from.
create table due (
    connection text not null,
    kind text not null,
    rule text not null,
    due_at bigint not null,
    primary key (connection, kind)
);

-- One row: the daemon's sign of life, and how its last reload ended.
create table daemon_state (
    id integer primary key,
    beat_at bigint not null,
    reload_at bigint,
    reload_done integer,
    reload_text text
);

create table products (
    id integer primary key,
    name text not null unique,
    created_at bigint not null
);

create table record_rows (
    id integer primary key,
    connection_id integer not null references connections (id),
    key text not null,
    name text not null,
    kind text not null,
    url text,
    state text not null,
    -- The state to return to when a missing record is met again.
    former_state text,
    product_id integer references products (id),
    -- The mapping to return to when an ignored record is restored.
    former_product_id integer references products (id),
    attributes text not null,
    first_seen bigint not null,
    last_seen bigint not null,
    -- The operation whose discover listed it last; null when none did.
    met_by text,
    state_since bigint not null,
    unique (connection_id, key)
);

-- Records that a discover did not list, too many of them to become Missing before an operator approves.
create table held_records (
    record_id integer primary key references record_rows (id),
    operation text not null
);
create index held_records_operation on held_records (operation);

create table scopes (
    id integer primary key,
    connection_id integer not null references connections (id),
    list text not null,
    key text not null,
    title text not null,
    -- The one record that the scope covers; null when it covers many.
    record_id integer references record_rows (id),
    mark text,
    watermark bigint,
    -- Start of the last full pass that was complete.
    full_at bigint,
    -- Start of the last full pass that closed, or could have closed.
    last_seen bigint,
    -- The last finding row when such a pass began, and when it had been judged; or when the list was met first.
    seq_at_start bigint not null,
    seq_at_end bigint not null,
    -- How often a full pass was asked for, and how often before the last complete one began: while they differ, one is due.
    full_requested bigint not null default 0,
    full_served bigint not null default 0,
    unique (connection_id, list, key)
);
create index scopes_record on scopes (record_id);

-- One walk over a scope. It survives restarts: an open pass is resumed, and what it has seen still counts.
create table passes (
    id integer primary key,
    scope_id integer not null references scopes (id),
    started_at bigint not null,
    clock_at bigint,
    is_full integer not null,
    -- That of its scope when it began.
    full_requested bigint not null,
    since bigint,
    next_cursor text,
    cursor_at bigint not null,
    pages integer not null default 0,
    unkeyed bigint not null default 0,
    vendor_total bigint,
    -- The last finding row when it began: what comes after was created since.
    seq_at_start bigint not null,
    -- Why it is no proof about what it did not list; whether the connector can explain a large change of it.
    incomplete text,
    explained integer not null default 0,
    -- `full` or `delta` once the last page is stored, and what the next pass gets back from it.
    ended text,
    mark text
);
create unique index passes_scope on passes (scope_id);

-- One row: the last id that was given to a pass, or to a hold. None is given twice, so a page that comes late finds no pass but its own.
create table pass_ids (
    id integer primary key,
    last bigint not null
);
insert into pass_ids (id, last) values (1, 0);

-- What a pass has been delivered, a row per page: eight bytes of each item's id.
create table pass_pages (
    pass_id integer not null references passes (id),
    page integer not null,
    hashes blob not null,
    primary key (pass_id, page)
);

-- Long texts, once per distinct content.
create table texts (
    id integer primary key,
    hash text not null unique,
    description text,
    remediation text,
    reference_urls text not null
);

-- Lists of CVE ids, once per distinct list, and what is in each: few lists serve a million findings.
create table cve_lists (
    id integer primary key,
    hash text not null unique,
    cve text not null
);
create table cve_members (
    cve text not null,
    list_id integer not null references cve_lists (id),
    primary key (cve, list_id)
);

create table finding_rows (
    seq integer primary key,
    id text not null,
    -- The first eight bytes of the id, by which rows are found: a third of the index that the text would need.
    id_hash bigint not null,
    -- 0, unless other ids have the same eight bytes.
    id_collision integer not null,
    -- That of its record.
    connection_id integer not null references connections (id),
    scope_id integer not null references scopes (id),
    record_id integer not null references record_rows (id),
    text_id integer not null references texts (id),
    -- Null when there is no CVE id.
    cve_list_id integer references cve_lists (id),
    digest bigint not null,
    volatile_digest bigint not null,
    key text not null,
    rule text,
    branch text,
    category text not null,
    title text not null,
    severity text not null,
    -- For lists, which show the worst first.
    severity_rank integer not null generated always as (
        case severity when 'critical' then 5 when 'high' then 4 when 'medium' then 3 when 'low' then 2 when 'info' then 1 else 0 end
    ) stored,
    vendor_severity text,
    source_state text not null,
    vendor_state text,
    -- A local decision, never written by a sync: `false_positive`, `risk_accepted` or `wont_fix`.
    triage text,
    triage_until bigint,
    triage_note text,
    -- What is shown. What is fixed or gone shows so whatever was decided; else the local decision goes before the vendor's.
    state text not null generated always as (
        case
            when source_state in ('fixed', 'gone') or triage is null then source_state
            when triage = 'false_positive' then 'false_positive'
            else 'risk_accepted'
        end
    ) stored,
    cwe text not null,
    identifiers text not null,
    cvss_version text,
    cvss_vector text,
    cvss_score double precision,
    epss_score double precision,
    exploited integer,
    fix_available integer,
    component_name text,
    component_version text,
    component_purl text,
    fixed_version text,
    file_path text,
    line_start bigint,
    line_end bigint,
    endpoint text,
    asset_key text,
    tags text not null,
    url text,
    vendor_first_seen bigint,
    vendor_last_seen bigint,
    first_seen bigint not null,
    last_seen_at_close bigint,
    closed_at bigint,
    updated_at bigint not null,
    -- What it is about, without any tool's ids: finds the same weakness as another tool tells it. Nothing follows from it.
    fingerprint text,
    -- Where the vendor's item lies: the block, and its bytes in there. Null where none is kept.
    raw_block bigint,
    raw_at bigint,
    raw_length bigint,
    -- Eight bytes of the identity by which it is known under another key. Null where the tool states none, and in a row that was
    -- carried over to another one.
    lineage bigint
);
create unique index finding_rows_id on finding_rows (id_hash, id_collision);
-- For lists: the worst and newest of a connection or a record, and those with a CVE id, without touching other rows. The
-- entries of one record lie together, as its findings come together: an index by CVE id alone would touch a page for each.
create index finding_rows_of_connection on finding_rows (connection_id, state, severity_rank, first_seen);
create index finding_rows_of_record on finding_rows (record_id, state, severity_rank, first_seen);
create index finding_rows_of_cves on finding_rows (record_id, cve_list_id, severity_rank, first_seen) where cve_list_id is not null;
-- For closing: what is not closed in a scope, without touching the rows.
create index finding_rows_unclosed on finding_rows (scope_id, id_hash)
    where source_state in ('open', 'false_positive', 'risk_accepted', 'suppressed');
-- For the few that a person closed in the tool, which some connectors read again.
create index finding_rows_inactive on finding_rows (scope_id, vendor_state, key)
    where source_state in ('fixed', 'false_positive', 'risk_accepted', 'suppressed');

-- For carrying over: the rows of a record with one lineage. Rows without one take no room in it, and those of a record lie together.
create index finding_rows_lineage on finding_rows (record_id, lineage) where lineage is not null;

create index finding_rows_until on finding_rows (triage_until) where triage_until is not null;

-- The vendors' items as they came, some dozens compressed together.
create table raw_blocks (
    id integer primary key,
    -- How many findings point into it, and how many did when it was made; these, as eight bytes each.
    live integer not null,
    items integer not null,
    members blob not null,
    body blob not null
);

-- Absent from the last full pass, where one pass is no proof or its closes are held: whatever delivers them takes them out.
create table absences (
    finding_seq integer primary key references finding_rows (seq),
    scope_id integer not null references scopes (id),
    -- The last finding row when it was last listed, as in `scopes`, and whether the connector could explain that.
    seq_last_listed bigint not null,
    explained integer not null
);
create index absences_scope on absences (scope_id);

-- Closes that wait for an operator.
create table held_closes (
    finding_seq integer primary key references finding_rows (seq),
    scope_id integer not null references scopes (id),
    -- The last operation that held it: the one that an operator approves.
    operation text not null,
    -- Common to all that were held together, of one list or of several, and how many findings there were then.
    hold_id bigint not null,
    hold_of bigint not null
);
create index held_closes_hold on held_closes (hold_id);
create index held_closes_scope on held_closes (scope_id);

-- New findings with the lineage of one that is gone already: looked at when the pass that brought them has ended.
create table arrivals (
    finding_seq integer primary key references finding_rows (seq),
    scope_id integer not null references scopes (id)
);
create index arrivals_scope on arrivals (scope_id);

-- The different items that came under the key of one finding in one pass. Its row shows the one of the highest rank, and among
-- those the one with the highest digest.
create table variants (
    finding_seq integer not null references finding_rows (seq),
    -- 0 for an item that was not stored.
    digest bigint not null,
    rank integer not null,
    -- What delivered it last.
    scope_id integer not null references scopes (id),
    pass_id integer not null,
    primary key (finding_seq, digest)
);
create index variants_scope on variants (scope_id);

create table finding_events (
    id integer primary key,
    finding_id text not null,
    at bigint not null,
    operation text,
    event text not null,
    field text,
    old_value text,
    new_value text
);
create index finding_events_finding on finding_events (finding_id);

create table operations (
    -- In the order in which they began, whatever the clock said.
    seq integer primary key,
    id text not null unique,
    connection text not null,
    kind text not null,
    trigger text not null,
    outcome text not null,
    started_at bigint not null,
    ended_at bigint,
    fetched bigint not null default 0,
    created bigint not null default 0,
    updated bigint not null default 0,
    unchanged bigint not null default 0,
    reopened bigint not null default 0,
    filtered bigint not null default 0,
    rejected bigint not null default 0,
    closed bigint not null default 0,
    -- Beside the sum, as what they count is in it already.
    mended bigint not null default 0,
    duplicates bigint not null default 0,
    vendor_total bigint,
    -- The stable code of what went wrong first, as docs/runbook.md explains it, and its text.
    code text,
    error text,
    detail text not null default '{}',
    -- When somebody asked to stop it.
    cancelled_at bigint
);
create index operations_connection on operations (connection, kind, seq);

create table quarantine (
    id integer primary key,
    operation text not null,
    connection text not null,
    scope text not null,
    -- `rejected`: an item that could not be read. `mended`: a member that was left out of items so that they could.
    outcome text not null,
    -- What the next pass knows it again by: a hash of an item's key, or of its text where it has none; of a member's path.
    identity bigint not null,
    key text,
    path text not null,
    reason text not null,
    raw text not null,
    -- How many items the row stands for.
    items bigint not null,
    -- The pass that met it last.
    pass_id bigint not null,
    at bigint not null
);
create unique index quarantine_identity on quarantine (connection, scope, outcome, identity);

create view records as
select c.name as connection, r.key, r.name, r.kind, r.url, r.state, p.name as product, r.attributes,
    r.first_seen, r.last_seen, r.state_since
from record_rows r
join connections c on c.id = r.connection_id
left join products p on p.id = r.product_id
where r.state <> 'deleted';

-- What `findings` shows, with the columns by which the program finds rows.
create view finding_list as
select f.seq, f.id_hash, f.severity_rank, f.cve_list_id, f.id, c.name as connection, c.connector, s.list || case when s.key = '' then '' else ' ' || s.key end as scope,
    r.key as record_key, p.name as product, f.key, f.rule, f.branch, f.category, f.title, t.description, f.severity,
    f.vendor_severity, f.state, f.source_state, f.vendor_state, f.triage, f.triage_until, f.triage_note, coalesce(v.cve, '[]') as cve, f.cwe, f.identifiers,
    f.cvss_version, f.cvss_vector, f.cvss_score, f.epss_score, f.exploited, f.fix_available, f.component_name,
    f.component_version, f.component_purl, f.fixed_version, f.file_path, f.line_start, f.line_end, f.endpoint, f.asset_key,
    t.remediation, t.reference_urls, f.tags, f.url, f.vendor_first_seen, f.vendor_last_seen, f.first_seen,
    case
        when f.last_seen_at_close is not null then f.last_seen_at_close
        -- A stream goes on, but findings of a record that is no longer synced are not looked at.
        when r.state in ('new', 'ignored', 'stale') and s.last_seen > r.state_since and r.state_since > f.first_seen then r.state_since
        when s.last_seen > f.first_seen then s.last_seen
        else f.first_seen
    end as last_seen,
    f.closed_at, f.updated_at, f.fingerprint
from finding_rows f
join scopes s on s.id = f.scope_id
join record_rows r on r.id = f.record_id
join connections c on c.id = r.connection_id
join texts t on t.id = f.text_id
left join products p on p.id = r.product_id
left join cve_lists v on v.id = f.cve_list_id;

create view findings as
select id, connection, connector, scope, record_key, product, key, rule, branch, category, title, description, severity, vendor_severity,
    state, source_state, vendor_state, triage, triage_until, triage_note, cve, cwe, identifiers, cvss_version, cvss_vector, cvss_score,
    epss_score, exploited, fix_available, component_name, component_version, component_purl, fixed_version, file_path, line_start, line_end,
    endpoint, asset_key, remediation, reference_urls, tags, url, vendor_first_seen, vendor_last_seen, first_seen, last_seen, closed_at,
    updated_at, fingerprint
from finding_list;

-- Things (src/store/things.rs): tables of one form. `state` is `present` or `gone`; `absent_once` says that the last full pass did
-- not list it, where one is no proof.

create table asset_rows (
    seq integer primary key,
    id text not null unique,
    id_hash bigint not null,
    connection_id integer not null references connections (id),
    scope_id integer not null references scopes (id),
    digest bigint not null,
    volatile_digest bigint not null,
    key text not null,
    record_key text,
    kind text not null,
    name text not null,
    identifiers text not null,
    attributes text not null,
    tags text not null,
    state text not null,
    absent_once integer not null default 0,
    first_seen bigint not null,
    last_seen_at_close bigint
);
create index asset_rows_present on asset_rows (scope_id, id_hash) where state = 'present';

create table identity_rows (
    seq integer primary key,
    id text not null unique,
    id_hash bigint not null,
    connection_id integer not null references connections (id),
    scope_id integer not null references scopes (id),
    digest bigint not null,
    volatile_digest bigint not null,
    key text not null,
    kind text not null,
    name text not null,
    username text,
    email text,
    status text not null,
    vendor_status text,
    manager_key text,
    attributes text not null,
    tags text not null,
    vendor_created bigint,
    password_changed bigint,
    last_login bigint,
    state text not null,
    absent_once integer not null default 0,
    first_seen bigint not null,
    last_seen_at_close bigint
);
create index identity_rows_present on identity_rows (scope_id, id_hash) where state = 'present';

create table membership_rows (
    seq integer primary key,
    id text not null unique,
    id_hash bigint not null,
    connection_id integer not null references connections (id),
    scope_id integer not null references scopes (id),
    digest bigint not null,
    volatile_digest bigint not null,
    key text not null,
    kind text not null,
    container_key text not null,
    member_key text not null,
    label text,
    vendor_status text,
    state text not null,
    absent_once integer not null default 0,
    first_seen bigint not null,
    last_seen_at_close bigint
);
create index membership_rows_present on membership_rows (scope_id, id_hash) where state = 'present';
create index membership_rows_member on membership_rows (connection_id, member_key);
create index membership_rows_container on membership_rows (connection_id, container_key);
create index identity_rows_key on identity_rows (connection_id, key);

-- What is known of a person's second factor; its key is that of the identity.
create table enrollment_rows (
    seq integer primary key,
    id text not null unique,
    id_hash bigint not null,
    connection_id integer not null references connections (id),
    scope_id integer not null references scopes (id),
    digest bigint not null,
    volatile_digest bigint not null,
    key text not null,
    enrolled integer,
    admin integer,
    methods text not null,
    state text not null,
    absent_once integer not null default 0,
    first_seen bigint not null,
    last_seen_at_close bigint
);
create index enrollment_rows_identity on enrollment_rows (connection_id, key) where state = 'present';
create index enrollment_rows_present on enrollment_rows (scope_id, id_hash) where state = 'present';

create table third_party_rows (
    seq integer primary key,
    id text not null unique,
    id_hash bigint not null,
    connection_id integer not null references connections (id),
    scope_id integer not null references scopes (id),
    digest bigint not null,
    volatile_digest bigint not null,
    key text not null,
    record_key text,
    name text not null,
    domain text,
    score double precision,
    score_lowest double precision,
    score_highest double precision,
    grade text,
    scored_at bigint,
    industry text,
    country text,
    url text,
    factors text not null,
    attributes text not null,
    tags text not null,
    state text not null,
    absent_once integer not null default 0,
    first_seen bigint not null,
    last_seen_at_close bigint
);
create index third_party_rows_present on third_party_rows (scope_id, id_hash) where state = 'present';

-- How companies were rated: a row when a score or a grade moved.
create table third_party_scores (
    third_party_id text not null,
    -- When it was rated, as the service says, else when it was met.
    at bigint not null,
    -- What is rated; empty for the whole company.
    factor text not null,
    score double precision,
    grade text,
    operation text,
    primary key (third_party_id, factor, at)
);

create view assets as
select a.id, c.name as connection, c.connector, a.key, a.record_key, a.kind, a.name, a.identifiers, a.attributes, a.tags,
    a.state, a.first_seen,
    case
        when a.last_seen_at_close is not null then a.last_seen_at_close
        when s.last_seen > a.first_seen then s.last_seen
        else a.first_seen
    end as last_seen
from asset_rows a
join scopes s on s.id = a.scope_id
join connections c on c.id = a.connection_id;

create view identities as
select i.id, c.name as connection, c.connector, i.key, i.kind, i.name, i.username, i.email, i.status, i.vendor_status, i.manager_key,
    -- Null is unknown, never "none".
    e.enrolled as mfa, coalesce(e.methods, '[]') as mfa_methods, e.admin, i.attributes, i.tags, i.vendor_created, i.password_changed, i.last_login,
    i.state, i.first_seen,
    case
        when i.last_seen_at_close is not null then i.last_seen_at_close
        when s.last_seen > i.first_seen then s.last_seen
        else i.first_seen
    end as last_seen
from identity_rows i
join scopes s on s.id = i.scope_id
join connections c on c.id = i.connection_id
left join enrollment_rows e on e.connection_id = i.connection_id and e.key = i.key and e.state = 'present';

create view memberships as
select m.id, c.name as connection, c.connector, m.key, m.kind, m.container_key, m.member_key, m.label, m.vendor_status,
    m.state, m.first_seen,
    case
        when m.last_seen_at_close is not null then m.last_seen_at_close
        when s.last_seen > m.first_seen then s.last_seen
        else m.first_seen
    end as last_seen
from membership_rows m
join scopes s on s.id = m.scope_id
join connections c on c.id = m.connection_id;

create view third_parties as
select t.id, c.name as connection, c.connector, t.key, t.record_key, t.name, t.domain, t.score, t.score_lowest, t.score_highest, t.grade, t.scored_at,
    t.industry, t.country, t.url, t.factors, t.attributes, t.tags,
    t.state, t.first_seen,
    case
        when t.last_seen_at_close is not null then t.last_seen_at_close
        when s.last_seen > t.first_seen then s.last_seen
        else t.first_seen
    end as last_seen
from third_party_rows t
join scopes s on s.id = t.scope_id
join connections c on c.id = t.connection_id;
