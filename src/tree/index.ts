/** `tree`: the immutable ordered map whose pages are blobs. Edit, range, diff, verify, proof. */
export { emptyTree, openTree } from "./blob-tree.ts";
export type { TreeEnv } from "./blob-tree.ts";
export { PageMissing } from "./cache.ts";
export { diff } from "./diff.ts";
export type { TreeDifference, TreeDiffOptions } from "./diff.ts";
export { fetchTree } from "./fetch.ts";
export type { FetchProgress, FetchTreeOptions } from "./fetch.ts";
export { checkProof, prove } from "./proof.ts";
export { reachable } from "./reachable.ts";
export type { ReachableOptions } from "./reachable.ts";
export { verify } from "./verify.ts";
export type { TreeProblem, TreeReport } from "./verify.ts";
export type {
  Flushed,
  FlushOptions,
  TreeEdit,
  TreeEntry,
  TreeOptions,
  TreeRange,
  TreeRangeOptions,
  TreeRoot,
  TreeSnapshot,
} from "./tree.ts";
