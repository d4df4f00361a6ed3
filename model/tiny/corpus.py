"""The text that the tiny tokenizer learns from, put together from word lists: no file has to be shipped."""

from collections.abc import Iterator

_NAMES = "Ada,Ben,Clara,David,Emma,Felix,Grace,Henry,Iris,Jonas,Lena,Marco,Nora,Oscar,Paula,Simon"
_THINGS = (
    "answer,book,bridge,city,cloud,computer,cup,day,door,engine,field,forest,garden,hour,house,idea,image,island,"
    "kitchen,lamp,letter,light,machine,map,market,message,minute,model,morning,mountain,music,night,number,paper,"
    "person,picture,place,plan,question,rain,river,road,room,school,sea,season,server,session,sound,station,"
    "stone,story,street,summer,sun,system,table,teacher,thing,time,token,town,train,tree,voice,wall,water,week,"
    "weather,window,winter,word,work,world,year"
)
_QUALITIES = (
    "big,bright,careful,clear,cold,different,early,easy,empty,fast,full,good,great,green,important,large,late,"
    "little,long,new,old,open,quick,quiet,red,right,short,simple,slow,small,strong,warm,white,young"
)
_ACTIONS = (
    "asks about,builds,carries,changes,checks,closes,counts,describes,draws,explains,finds,follows,"
    "gives,hears,keeps,learns,leaves,likes,looks at,makes,moves,needs,opens,paints,reads,remembers,"
    "sees,sends,shows,starts,stops,takes,tells us about,thinks of,turns,understands,uses,wants,watches,writes"
)
_FRAMES = (
    "{name} {action} the {quality} {thing} in the {place}.",
    "What is the {quality} {thing} that {name} {action}?",
    "There was a {thing} near the {place}, and it was {quality}.",
    "Please tell me how the {thing} works, because {name} {action} it every {place}.",
    "The {thing} and the {place} are {quality}; this is what {name} said.",
    "If you have {number} of them, then {name} {action} the other {thing}.",
    "I would like to know where the {quality} {thing} comes from, could you help me with that?",
    '{{"{thing}": {number}, "{place}": "{quality}", "list": [1, 2, 3], "ok": true}}',
    "def {thing}({place}: int) -> str:\n    return {quality}[{place} + {number}]\n",
    "- {quality} {thing}: {number} %\n- {place} (see https://www.example.com/{thing}.html)\n",
)
_SENTENCES = 900


def sentences() -> Iterator[str]:
    """The same few hundred lines of English, JSON and code at every call."""
    names, things, qualities, actions = (words.split(",") for words in (_NAMES, _THINGS, _QUALITIES, _ACTIONS))
    for number in range(_SENTENCES):
        # Steps without common factors, so that the lists do not move in step with each other.
        yield _FRAMES[number % len(_FRAMES)].format(
            name=names[number % len(names)],
            action=actions[number * 3 % len(actions)],
            thing=things[number * 7 % len(things)],
            place=things[number * 11 % len(things)],
            quality=qualities[number * 5 % len(qualities)],
            number=number * 37 % 1000,
        )
