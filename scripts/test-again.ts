/**
 * Which files of a failed run are tried once more, with nothing beside them: `test-again.ts REPORT` prints their paths, a line each, or
 * nothing. Real clients, guests and killed processes on a machine with other work can take longer than any limit that is worth having;
 * that is told from a fault by being alone. Two files at the most, and of test/interop only: a unit test, a seed of the simulation, a
 * planted bug or the torture that fails has failed.
 */
import { failures, readReport } from './test-report.js';

const AGAIN_MAX = 2;

const files = readReport(process.argv[2]!).testResults.filter((file) => failures(file).length > 0);
const may = files.length <= AGAIN_MAX && files.every(({ name }) => name.includes('/test/interop/'));
if (may) for (const { name } of files) console.log(name);
