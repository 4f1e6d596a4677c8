/** What keeps the catalog on the OSTs, so that the loss of the MDS does not lose it: docs/s3.md. */
export { type Checkpoint, writeCheckpoint } from './checkpoint.js';
export { journalLayout } from './layout.js';
export { type Debt, Owed } from './owed.js';
export { isContent, type Recovered, recoverCatalog } from './recovery.js';
export { isJournalled, JOURNAL_ROWS, type JournalRow } from './rows.js';
export type { PlainRows } from './types.js';
export { JournalWriter } from './writer.js';
