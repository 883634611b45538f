// The JavaScript client against a served API, part after part; what fails throws.

import { eachIsReadAndWrittenBack } from "./kinds.mjs";
import { areApplied, areCreatedChangedAndDeleted } from "./services.mjs";
import { oneCandidateLeadsAtATime } from "./leases.mjs";
import { listsArePagedAndSelected, watchesResume, whatExpiredIsListedAgain } from "./watching.mjs";

const parts = {
  kinds: eachIsReadAndWrittenBack,
  services: areCreatedChangedAndDeleted,
  applies: areApplied,
  lists: listsArePagedAndSelected,
  watches: watchesResume,
  restarts: whatExpiredIsListedAgain,
  elections: oneCandidateLeadsAtATime,
};
for (const [name, work] of Object.entries(parts)) {
  await work();
  console.log("done", name);
}
// Connections that are kept for later would keep the program too.
process.exit(0);
