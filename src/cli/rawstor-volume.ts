#!/usr/bin/env node
import { main } from './program.js';
import { RAWSTOR_VOLUME } from './programs.js';

await main(RAWSTOR_VOLUME);
