/** A new MDS from what its OSTs keep, and maybe a dump of the old one. */
export type { DumpedMds, DumpedOst, OstScan } from './evidence.js';
export { EPOCH_STEP, type Fate, type Finding } from './judge.js';
export { makePlan, type PlanOptions, type RebuildPlan } from './plan.js';
export { type ScannedOst, scanOst } from './scan.js';
export { checkEmptyDirectory, writeMdsDirectory } from './write.js';
