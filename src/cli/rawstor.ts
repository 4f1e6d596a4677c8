#!/usr/bin/env node
import { main } from './program.js';
import { RAWSTOR } from './programs.js';

await main(RAWSTOR);
