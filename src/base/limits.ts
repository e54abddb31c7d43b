/**
 * Every limit of Holdfast in one place. Units are the last word of the name: sizes are bytes, counts are counts,
 * durations end in Ms. An error about a limit names it as `limits.<name>`.
 */
export const limits = {
  /** Largest key of the key view. */
  keySizeMax: 4_096,
  /** Largest value of the key view; larger data belongs in files. */
  valueSizeMax: 1_048_576,
  /** Largest encoded command, which is one log record. */
  recordSizeMax: 16_777_216,
  /** Bytes of records in one append of which the log keeps the records together; a single one may be larger. */
  appendSizeMax: 1_048_576,
  /** Largest number of operations in one command, nested ones included. */
  operationCountMax: 16_384,
  /** How deep compare/then/else may nest. */
  transactionDepthMax: 8,
  /** Largest frame of an rpc connection, header included. */
  frameSizeMax: 1_048_576 * 2,
  /** Largest message of an rpc call; it may span frames. */
  messageSizeMax: 16_777_216 + 65_536,
  /** Calls under way on one connection. */
  connectionCallCountMax: 4_096,
  /** Calls under way on one server. */
  serverCallCountMax: 65_536,
  /** Largest blob: a tree page, a chunk, a pack's record. */
  blobSizeMax: 33_554_432,
  /** Values longer than this are stored as blobs of their own, not inside a tree page. */
  inlineValueSizeMax: 2_048,
  /** Largest key in the tree: a view's key with what the view puts before it. */
  treeKeySizeMax: 8_192,
  /** Largest value in the tree: a view's value with what the view puts before it. */
  treeValueSizeMax: 1_048_576 + 65_536,
  /** Bytes of proposed commands waiting for the log; past this, proposals are refused with `exhausted`. */
  proposalQueueSizeMax: 67_108_864,
  /** Sessions a store remembers; the one idle for longest in store time ends first. */
  sessionCountMax: 65_536,
  /** Answers remembered for one session; a client has at most so many commands in flight. */
  sessionWindowCountMax: 4_096,
  /** Bytes of one answer that a session remembers, and of its older ones: together they fit a value of the tree. */
  sessionAnswerSizeMax: 524_288,
  /** A session unused for this long in store time may be forgotten. */
  sessionIdleMs: 3_600_000,
  /** Longest path of a file in a bucket, in bytes; longest name of a bucket or a snapshot. */
  filePathSizeMax: 4_096,
  nameSizeMax: 128,
  /** Files up to this size stand in their entry, not in chunks. */
  inlineFileSizeMax: 1_024,
  /** All metadata of one file, names and values together; longest target of a symbolic link. */
  fileMetadataSizeMax: 8_192,
  linkTargetSizeMax: 4_096,
  /** Bytes of one answer of a view, about: what would be larger comes in several. */
  answerSizeMax: 1_048_576,
  /** Bytes of a key of a map; of a value by which an index of a map is ordered; indexes of one map. */
  mapKeySizeMax: 2_048,
  indexValueSizeMax: 1_024,
  indexCountMax: 32,
  /** The state of one object of a user's own type, as JSON. */
  objectSizeMax: 8_388_608,
  /** Shortest and longest lease. */
  leaseTtlMinMs: 100,
  leaseTtlMaxMs: 9_000_000_000,
} as const;
