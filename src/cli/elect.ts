/** `holdfast elect`: run a command while this one leads. */
export { addElectionTo as addTo } from "./lock.ts";
