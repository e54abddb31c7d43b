/** The members of a store that is no cluster: itself. */
import { noCluster } from "./refusals.ts";
import type { MemberInfo, MemberList, Members } from "./members.ts";

export class SingleMembers implements Members {
  readonly #name: string;
  readonly #store: string;

  /** `store`: its id. */
  constructor(name: string, store: string) {
    this.#name = name;
    this.#store = store;
  }

  list(): Promise<MemberList> {
    const self: MemberInfo = {
      id: 0,
      name: this.#name,
      // Whoever asks has reached it; where it listens need not be how it was reached.
      address: "",
      zone: "",
      role: "voter",
      leader: true,
      self: true,
      lag: 0,
      active: true,
      replaces: "",
    };
    return Promise.resolve({ members: [self], leaderZone: "", term: 0, leader: 0, cluster: "", store: this.#store });
  }

  add(): Promise<MemberInfo> {
    return Promise.reject(noCluster());
  }

  remove(): Promise<void> {
    return Promise.reject(noCluster());
  }

  promote(): Promise<void> {
    return Promise.reject(noCluster());
  }

  transfer(): Promise<void> {
    return Promise.reject(noCluster());
  }
}
