/**
 * Reads vitest's JSON report and prints `N passed, N failed, N skipped` as the last line.
 * `test-summary.ts REPORT [--no-skips] [--again REPORT]`: with --no-skips a skipped test fails, except long ones, which have
 * the word "long" in their name and run with RAWSTOR_TEST_LONG=1. Of the files in the second report that counts, and what failed in them
 * the first time is said. Exits 1 on any failure, or when nothing passed.
 */
import { parseArgs } from 'node:util';
import { type FileReport, failures, readReport } from './test-report.js';

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { 'no-skips': { type: 'boolean' }, again: { type: 'string' } },
});
let passed = 0;
let failed = 0;
let skipped = 0;

/** The second try of a file stands for the first. */
function results(): FileReport[] {
  const { testResults } = readReport(positionals[0]!);
  if (values.again === undefined) return testResults;
  const again = new Map(readReport(values.again).testResults.map((file) => [file.name, file]));
  for (const file of testResults) {
    if (!again.has(file.name)) continue;
    for (const { name, reason } of failures(file)) {
      console.log(`FAILED THE FIRST TIME, ran again alone: ${file.name}: ${name}: ${reason.split('\n')[0]}`);
    }
  }
  return testResults.map((file) => again.get(file.name) ?? file);
}

try {
  for (const file of results()) {
    failed += failures(file).length;
    for (const test of file.assertionResults) {
      if (test.status === 'passed') passed++;
      else if (test.status === 'failed') continue;
      else if (values['no-skips'] && !/\blong\b/i.test(test.fullName)) {
        console.log(`skipped, which is not allowed here: ${file.name}: ${test.fullName}`);
        failed++;
      } else skipped++;
    }
  }
} catch (error) {
  console.log(`no report of the tests: ${(error as Error).message}`);
  failed++;
}
console.log(`${passed} passed, ${failed} failed, ${skipped} skipped`);
process.exitCode = failed > 0 || passed === 0 ? 1 : 0;
