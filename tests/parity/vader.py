"""VADER's scores of sentences that meet each of its rules, for the experiment of PPO against DPO. None has an emoji: the
package that the experiment takes the lexicon from describes some of them in older words.

usage: vader.py > tests/src/bin/experiment_ppo/scorer/golden.json     (needs vaderSentiment 3.3.2; seconds)
"""
import json, random
from vaderSentiment.vaderSentiment import SentimentIntensityAnalyzer

SENTENCES = """VADER is smart, handsome, and funny.
VADER is smart, handsome, and funny!
VADER is very smart, handsome, and funny.
VADER is VERY SMART, handsome, and FUNNY.
VADER is VERY SMART, handsome, and FUNNY!!!
VADER is VERY SMART, uber handsome, and FRIGGIN FUNNY!!!
VADER is not smart, handsome, nor funny.
The book was good.
At least it isn't a horrible book.
The book was only kind of good.
The plot was good, but the characters are uncompelling and the dialog is not great.
Today SUX!
Today only kinda sux! But I'll get by, lol
Make sure you :) or :D today!
Not bad at all
It was a terrible, terrible day, and nobody came??
Are you happy??? Really????
I never felt so good
The worst library, yet the least boring one
No good or bad news
A hotel with no problems, no joy
Without a doubt an excellent idea""".splitlines()
# Words that rules are about, and some that they are not.
POOL = """good great bad awful happy sad love hate nice boring horrible wonderful problem joy fun pain best worst
no not never without doubt isn't don't nor or least at very so this but kind of sort just enough really extremely
barely slightly VERY NOT GOOD Bad the bomb shit die for to kiss death yeah right beating heart bus stop bad ass
a library day hotel people and was is :) :( lol ! ??? good! bad, (nice) "great" no, x""".split()

analyzer = SentimentIntensityAnalyzer()
draw = random.Random(0)
for _ in range(150):
    SENTENCES.append(" ".join(draw.choice(POOL) for _ in range(draw.randint(3, 14))))
print("[\n" + ",\n".join(json.dumps([text, analyzer.polarity_scores(text)["compound"]], ensure_ascii=False) for text in SENTENCES) + "\n]")
